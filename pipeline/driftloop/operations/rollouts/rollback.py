"""Roll back by hand: take a candidate out of its rollout, or restore an earlier version whose
model is still there.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from driftloop.cluster.reader import ApiReader
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.platform import ACCESS_KEY, S3_ENDPOINT, S3_REGION, SECRET_KEY, SIGNING_KEYS
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import ReleaseError, StoreError
from driftloop.git.repository import Repository
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits import releases
from driftloop.operations.commits.release_history import read_release
from driftloop.operations.commits.releases import (
    CommittedPipeline,
    TransitionMessage,
    TransitionResult,
)
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.ground.cluster_store import open_cluster_store
from driftloop.operations.servers.answering import ask_version
from driftloop.release import record
from driftloop.release.minisign import read_public_keys
from driftloop.release.record import Release, Version
from driftloop.release.signing import verify_version
from driftloop.spec import load_spec

if TYPE_CHECKING:
    from driftloop.clients.s3 import ObjectStore

MOST_COMMITS = 200
"""Commits of release.yaml that are read one by one for earlier versions."""


@dataclass(frozen=True)
class EarlierVersion:
    """A version that was production, and whether it can be again."""

    version: Version
    time: str
    """Time of the commit that last had it as production."""
    problem: str | None
    """What of it is missing; None when its files are there, or were not looked at."""
    checked: bool
    """False without a store to look in."""


@dataclass(frozen=True)
class ClusterStore:
    """The object store of the cluster that a kubeconfig names."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    """Namespace of the pipeline; None for the one of its release."""


@contextlib.contextmanager
def open_store(
    target: CommitTarget,
    name: str,
    *,
    state: StateFolder,
    cluster: ClusterStore | None,
    environment: Mapping[str, str],
) -> Iterator["ObjectStore | None"]:
    """Open the object store beside a cluster repository: that of the cluster, of the state folder,
    or of the environment; None when none of them names one."""
    if cluster is None:
        yield find_store(state, target.repository.url, environment)
        return
    namespace = cluster.namespace or _read_release(target.repository, name).namespace
    with _reach_store(cluster, namespace) as store:
        yield store


@contextlib.contextmanager
def open_saved_store(
    namespace: str,
    *,
    state: StateFolder,
    cluster: ClusterStore | None,
    environment: Mapping[str, str],
) -> Iterator["ObjectStore | None"]:
    """Open the object store that a namespace uses on a cluster, that of the state folder, or of the environment; None
    when none of them names one."""
    if cluster is None:
        yield find_store(state, state.repository_url, environment)
        return
    with _reach_store(cluster, cluster.namespace or namespace) as store:
        yield store


@contextlib.contextmanager
def _reach_store(cluster: ClusterStore, namespace: str) -> Iterator["ObjectStore"]:
    kubeconfig, context = cluster.kubeconfig, cluster.context
    reader = ApiReader(kubeconfig, context)
    with open_cluster_store(reader, namespace, kubeconfig=kubeconfig, context=context) as store:
        yield store


def find_store(
    state: StateFolder, repository: str, environment: Mapping[str, str]
) -> "ObjectStore | None":
    """Return the store of the state folder, or of the environment; None when neither names one."""
    from driftloop.clients.s3 import ObjectStore

    if repository == state.repository_url and state.platform.exists():
        used = (S3_ENDPOINT, S3_REGION, ACCESS_KEY, SECRET_KEY)
        environment = LocalSettings.load(state).export(used)
    if not environment.get(S3_ENDPOINT.environment):
        return None
    return ObjectStore.from_environment(environment)


def list_earlier_versions(
    target: CommitTarget, name: str, store: "ObjectStore | None"
) -> tuple[EarlierVersion, ...]:
    """Return the versions that were production and are not, the newest first."""
    release = _read_release(target.repository, name)
    current = release.production.id if release.production is not None else None
    versions = _read_history(target.repository, name)
    return tuple(
        EarlierVersion(version, time, describe_missing(store, version), store is not None)
        for version, time in versions.values()
        if version.id != current
    )


def roll_back(
    target: CommitTarget,
    name: str,
    *,
    to: str | None = None,
    store: "ObjectStore | None",
    state: StateFolder | None = None,
    unchecked: bool = False,
    environment: Mapping[str, str] | None = None,
    report: Callable[[str], None],
) -> TransitionResult:
    """Take the candidate out of its rollout, or restore the previous version (or version `to`),
    by one commit. `state` holds the images of this machine, in which a version is asked first.

    ReleaseError when there is none, when its files are gone, when its signature is not the platform's,
    or when it does not answer: it lists what can be restored. Without a store it is an error, too, unless `unchecked`.
    """
    committed = releases.read_pipeline(target.repository.tree(target.repository.tip()), name)
    release = committed.release
    if release.candidate is not None and to is None:
        return releases.commit_transition(
            target.repository,
            name,
            record.reject_candidate,
            lambda before, after: _build_message(name, before, after, target.cause),
        )
    version = _choose_version(target, name, release, to, store)
    check_signature(committed, version, lambda: _find_keys(target, state, environment or {}))
    if unchecked:
        report(f"not checked whether {version.id} is there and answers (--unchecked)")
    elif store is None:
        raise ReleaseError(
            f"can't look whether the model of {version.id} is there: no object store is named",
            hint="--cluster looks in the store of the cluster that your kubeconfig names, "
            f"{S3_ENDPOINT.environment} and its keys name another; --unchecked rolls back without looking",
        )
    elif (problem := ask_version(committed, version, store, state, report)) is not None:
        raise ReleaseError(
            f"`{name}` can't go back to {version.id}: {problem}",
            hint=_list_choices(target, name, store, but=version.id),
        )

    def restore(current: Release) -> Release:
        # a race with the end of another rollout must not restore what was not looked at
        if current.production != release.production or current.candidate is not None:
            raise ReleaseError(f"the release of `{name}` has changed meanwhile; look at it again")
        if to is None:
            return record.restore_previous(current)
        return record.restore_version(current, version)

    return releases.commit_transition(
        target.repository,
        name,
        restore,
        lambda before, after: _build_message(name, before, after, target.cause),
    )


def is_rollback(moved: TransitionResult) -> bool:
    """Return True when an earlier version came back; False when a candidate was taken out, or
    nothing changed."""
    return moved.commit is not None and moved.commit.subject.startswith("Roll ")


def describe_missing(store: "ObjectStore | None", version: Version) -> str | None:
    """Return what is missing of a version's files; None when all is there, or without a store."""
    from driftloop.clients import s3
    from driftloop.operations.runs.references import digest_detector

    if store is None:
        return None
    model = s3.parse_location(version.model)
    try:
        if not store.list_folder(model):
            return f"its model {version.model} does not exist"
        if (digest := store.digest_folder(model)) != version.model_digest:
            return f"its model {version.model} has digest {digest}, must be {version.model_digest}"
        detectors = version.detectors
        if detectors is not None and not store.list_folder(s3.parse_location(detectors)):
            return f"its detectors {detectors} do not exist"
        for name, expected in version.detector_digests.items():
            folder = s3.parse_location(f"{detectors}/{name}")
            if (digest := digest_detector(store, folder)) != expected:
                return f"its detector {folder} has digest {digest}, must be {expected}"
    except s3.MissingObjectError:
        return f"its model {version.model} does not exist"
    except StoreError as error:
        raise ReleaseError(
            f"can't look whether the model of {version.id} is there: {error.message}",
            hint="`driftloop up` runs the local store; --unchecked rolls back without looking",
        ) from error
    return None


def _choose_version(
    target: CommitTarget, name: str, release: Release, to: str | None, store: "ObjectStore | None"
) -> Version:
    """Return the version to restore, whose files are there."""
    if release.candidate is not None:
        raise ReleaseError(
            f"the rollout of {release.candidate.id} is on",
            hint="roll back without --to first: that takes it out",
        )
    if release.production is None:
        raise ReleaseError(f"`{name}` has no release yet: there is nothing to go back from")
    if to is None:
        version = release.previous
    elif release.production.id == to:
        raise ReleaseError(f"{to} is production of `{name}` already")
    else:
        version = _find_production(target.repository, name, to)
    if version is None:
        problem = (
            f"`{name}` has no previous version to roll back to"
            if to is None
            else f"{to} was never production of `{name}`"
        )
    elif (missing := describe_missing(store, version)) is None:
        return version
    else:
        problem = f"`{name}` can't go back to {version.id}: {missing}"
    raise ReleaseError(problem, hint=_list_choices(target, name, store))


def _find_keys(
    target: CommitTarget, state: StateFolder | None, environment: Mapping[str, str]
) -> str:
    """Return the trusted keys of the state folder, or of the environment; empty when neither has any."""
    here = state is not None and target.repository.url == state.repository_url
    if state is not None and here and state.platform.exists():
        return LocalSettings.load(state)[SIGNING_KEYS]
    return environment.get(SIGNING_KEYS.environment, "")


def check_signature(
    committed: CommittedPipeline, version: Version, find_keys: Callable[[], str]
) -> None:
    """Raise DistrustError for a version that pods will refuse, as far as the trusted keys are at hand."""
    signatures = load_spec(committed.spec, path=spec_path(committed.name)).spec.signatures
    if signatures is None or (signatures == "write" and version.signature is None):
        return
    if keys := find_keys():
        trusted = read_public_keys(keys, label=SIGNING_KEYS.environment)
        verify_version(committed.release, version, trusted)


def _list_choices(
    target: CommitTarget, name: str, store: "ObjectStore | None", *, but: str | None = None
) -> str:
    usable = [
        f"{item.version.id} ({item.time})"
        for item in list_earlier_versions(target, name, store)
        if item.problem is None and item.version.id != but
    ]
    if usable:
        return f"with --to, it can go back to: {', '.join(usable)}"
    return f"no earlier release can be restored: `driftloop trigger {name}` trains a new one"


def _read_release(repository: Repository, name: str) -> Release:
    return releases.read_pipeline(repository.tree(repository.tip()), name).release


def _read_history(repository: Repository, name: str) -> dict[str, tuple[Version, str]]:
    """Return the versions that were production by id, the newest first, and the time of each."""
    path, tip = release_path(name), repository.tip()
    versions: dict[str, tuple[Version, str]] = {}
    commits = repository.history(tip, path, MOST_COMMITS) if tip is not None else ()
    for entry in commits:
        # what another version of driftloop wrote can't be restored by this one
        release = read_release(repository, entry.commit.sha, name)
        if release is not None and release.production is not None:
            time = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="seconds")
            versions.setdefault(release.production.id, (release.production, time))
    return versions


def _find_production(repository: Repository, name: str, id: str) -> Version | None:
    """Return a version that was production; None when it never was. One of long ago is found by the
    last commit that names it."""
    history = _read_history(repository, name)
    if id in history:
        return history[id][0]
    tip = repository.tip()
    commit = repository.find(tip, "Driftloop-Release", id) if tip is not None else None
    if commit is None or commit.trailers.get("Driftloop-Pipeline") != name:
        return None
    release = read_release(repository, commit.commit.sha, name)
    production = release.production if release is not None else None
    return production if production is not None and production.id == id else None


def _build_message(name: str, before: Release, after: Release, cause: str) -> TransitionMessage:
    if before.candidate is not None:
        subject = f"Take {before.candidate.id} of {name} out of its rollout"
        outcome = RunOutcome.now("superseded", f"taken out of its rollout by {cause}")
        return TransitionMessage(
            subject, before.candidate, cause, outcome=outcome, taken_back=before.candidate.id
        )
    assert after.production is not None and before.production is not None  # noqa: S101, PT018 - phase stable has one
    body = f"It replaces {before.production.id}."
    return TransitionMessage(
        f"Roll {name} back to {after.production.id}",
        after.production,
        cause,
        body,
        taken_back=before.production.id,
    )
