"""Promote from one cluster to another: what is production there comes here, with its digests and measurements."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from driftloop.contract.names import CLUSTER_DOMAIN
from driftloop.contract.outcomes import REASON_TRAILER, RunOutcome
from driftloop.contract.trees import spec_path
from driftloop.errors import ReleaseError
from driftloop.git.production import ProductionSince, read_production
from driftloop.git.repository import Repository
from driftloop.operations.commits import releases
from driftloop.operations.commits.releases import (
    CommittedPipeline,
    TransitionMessage,
    TransitionResult,
)
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.runs.approvals import require_approver
from driftloop.platform import PlatformFile
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.spec import load_spec


@dataclass(frozen=True)
class CarriedRelease:
    """A version that was brought from one cluster to another."""

    version: Version
    result: TransitionResult
    notes: tuple[str, ...] = ()
    """What a person should know that the commit does not change."""


@dataclass(frozen=True)
class ProvenRelease:
    """What is production on a cluster, and what that cluster knows of it."""

    committed: CommittedPipeline
    version: Version
    since: ProductionSince | None
    reason: str
    """How its rollout there ended, in a sentence; empty when none is known."""


def read_proven(source: CommitTarget, name: str) -> ProvenRelease:
    """Read what is production on a cluster; ReleaseError when nothing is."""
    tip = source.repository.tip()
    committed = releases.read_pipeline(source.repository.tree(tip), name)
    version = committed.release.production
    if version is None:
        raise ReleaseError(
            f"`{name}` has no release on `{committed.platform.cluster}` yet, there is nothing to promote"
        )
    since = read_production(source.repository, name)
    return ProvenRelease(committed, version, since, _read_reason(source.repository, since))


def carry_release(
    proven: ProvenRelease,
    target: CommitTarget,
    *,
    keeps_spec: bool,
    is_copied: bool,
    allow: frozenset[str] = frozenset(),
) -> CarriedRelease:
    """Bring what is production on a cluster to another one by one commit: as its first release, or as its candidate in
    shadow. Nothing is committed when it is there already.

    Its spec comes along unless `keeps_spec`. ReleaseError when the other cluster can't read the model's files, unless
    `is_copied` says that they are there, or when a rollout is under way.
    """
    committed, version, name = proven.committed, proven.version, proven.committed.name
    platform = target.read_platform(target.repository.tree(target.repository.tip()))
    if not is_copied:
        _refuse_other_store(version, committed.platform, platform)
    spec = load_spec(committed.spec, path=spec_path(name)).spec
    if spec.rollout.promote == "manual":
        require_approver(target.person, spec.approvers, f"a promotion of `{name}`")
    came_from, to = committed.platform.cluster, platform.cluster
    if came_from == to:
        raise ReleaseError(f"`{name}` can't be promoted from `{to}` to itself")

    def write_message(before: Release, after: Release) -> TransitionMessage:
        return TransitionMessage(
            f"Promote {version.id} of {name} from {came_from} to {to}",
            version,
            target.cause,
            "\n".join(_describe_proof(proven, came_from)),
            outcome=None
            if after.candidate is not None
            else RunOutcome.now("released", f"promoted from {came_from} by {target.cause}"),
        )

    result = releases.commit_carried(
        target.repository,
        name,
        None if keeps_spec else committed.spec,
        lambda release: record.carry_version(release, version),
        write_message,
        allow=allow,
    )
    return CarriedRelease(version, result, tuple(_list_notes(spec.signatures, version, came_from)))


def _refuse_other_store(version: Version, source: PlatformFile, target: PlatformFile) -> None:
    """Raise ReleaseError when the files of a version are in a store that a cluster does not read."""
    theirs, ours = source.spec.object_store.endpoint, target.spec.object_store.endpoint
    host = urlsplit(theirs).hostname or ""
    if theirs == ours and not host.endswith(CLUSTER_DOMAIN):
        return
    why = (
        "each cluster has one of its own" if theirs == ours else f"`{target.cluster}` reads {ours}"
    )
    raise ReleaseError(
        f"the files of {version.id} are in the object store {theirs} of `{source.cluster}`, and {why}",
        hint="`driftloop files save` and `driftloop files load` carry them there, under the same address; then `--copied`: "
        "every pod checks the digests",
    )


def _describe_proof(proven: ProvenRelease, cluster: str) -> Iterator[str]:
    version, since = proven.version, proven.since
    digests: Mapping[str, str | None] = {
        "model": version.model_digest,
        "data": version.data_digest,
        "recipe": version.recipe_digest,
        **{f"detector {name}": digest for name, digest in version.detector_digests.items()},
    }
    for name, digest in digests.items():
        if digest is not None:
            yield f"{name}: {digest}"
    yield ""
    if version.metrics:
        measured = ", ".join(f"{name} {value:.6g}" for name, value in version.metrics.items())
        yield f"Measured on held-out rows: {measured}."
    if since is not None:
        at = datetime.fromtimestamp(since.at, UTC).isoformat(timespec="seconds")
        yield f"Production of {cluster} since {at}, by {since.commit}."
    if proven.reason:
        yield f"Its rollout there: {proven.reason}."


def _read_reason(repository: Repository, since: ProductionSince | None) -> str:
    if since is None:
        return ""
    found = repository.find(since.commit, "Driftloop-Release", since.release)
    if found is None or found.commit.sha != since.commit:
        return ""
    return found.trailers.get(REASON_TRAILER, "").rstrip(".")


def _list_notes(signatures: str | None, version: Version, cluster: str) -> Iterator[str]:
    if signatures is not None and version.signature is not None:
        yield (
            f"{version.id} is signed by the key of {cluster}: pods start it where `signing-keys` of "
            "`driftloop-platform` lists that key"
        )
