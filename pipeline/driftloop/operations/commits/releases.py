"""Commits of one pipeline: changes of its spec, transitions of its release, its removal.

Everything but `workflows/P/pipeline.yaml` and `deployments/P/release.yaml` derives from those
two, so a commit starts from the two at the tip and renders the rest again.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from driftloop import render, spec
from driftloop.check import Severity, check_files
from driftloop.contract import trees
from driftloop.contract.approvals import APPROVED_BY_TRAILER
from driftloop.contract.layout import CLUSTER, Layout
from driftloop.contract.outcomes import (
    OUTCOME_KINDS,
    OUTCOME_TRAILER,
    REASON_TRAILER,
    OutcomeKind,
    RunOutcome,
)
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import GitError, RenderError, StepError
from driftloop.git.head import DECISION_TRAILER, ROLLED_BACK_TRAILER, TAKEN_BACK_TRAILER
from driftloop.git.repository import Commit, LoggedCommit, Repository, RepositoryChange, Tree
from driftloop.operations.commits import remembered
from driftloop.operations.commits.clusters import platform_of, read_platform
from driftloop.operations.commits.impact import SpecImpact, assess_impact, refuse_surprises
from driftloop.operations.commits.reach import check_reached
from driftloop.operations.commits.released import read_release
from driftloop.operations.commits.room import find_room_surprises
from driftloop.plan.kept import refuse_exceeded
from driftloop.platform import PlatformFile
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.text.load import load_documents

_WEIGHTS = frozenset({"traffic", "weight"})
_ENDED = "End the rollout of "


@dataclass(frozen=True)
class TransitionMessage:
    """Commit message of a transition: subject, version, cause, body."""

    subject: str
    version: Version
    """The version the commit is about."""
    cause: str = ""
    """`alarm <event id>`, `webhook <id>`, `schedule` or `person <name>`."""
    body: str = ""
    outcome: RunOutcome | None = None
    """Outcome of the version's run; None while its rollout goes on."""
    taken_back: str = ""
    """Release that a person takes back by it."""
    left: str = ""
    """Release that the loop itself goes back from by it."""
    decision: str = ""
    """Order that it carries out."""
    approved_by: str = ""
    """Person who has approved it."""
    below: "TransitionMessage | None" = None
    """Message of the commit below it, where there is one; None for the usual one."""


@dataclass(frozen=True)
class TransitionResult:
    """A release after a transition, and its commit (None when nothing changed)."""

    release: Release
    commit: Commit | None


def describe_unheard(before: Release) -> str:
    """Say what no detector hears of when a candidate is promoted out of this release; empty when
    nothing is lost."""
    if before.phase != "shadow" or before.candidate is None or before.candidate.detectors is None:
        return ""
    return (
        f"Promoted straight from its shadow: what {before.candidate.id} is asked until its "
        "detectors have followed is judged by none."
    )


@dataclass(frozen=True)
class CommittedPipeline:
    """A pipeline in a commit."""

    name: str
    spec: str
    release: Release
    clusters: tuple[str, ...]
    platform: PlatformFile
    """Platform of the cluster that has it, or of each of these clusters."""
    files: Mapping[str, str] = field(repr=False)
    """Every file in the pipeline's own folders, path -> text."""


def read_pipeline(tree: Tree, name: str) -> CommittedPipeline:
    """Read a pipeline from a tree; GitError when it does not exist, ReleaseError when
    release.yaml is invalid."""
    release = read_release(tree, name)
    files = _select_files(tree, name)
    clusters = tuple(sorted({of for path in files if (of := trees.cluster_of(path))}))
    return CommittedPipeline(
        name,
        files[spec_path(name)],
        release,
        clusters,
        read_platform(tree, tree.layout, clusters[0] if clusters else CLUSTER),
        files,
    )


def check_rendered(base: CommittedPipeline) -> None:
    """Raise StepError when a pipeline's files are not what its spec and release render to.

    Weights changed by hand, in release.yaml or in the rendered files, are accepted: the next
    commit sets them.
    """
    expected = _render_clusters(base.spec, base.release, base.name, base.clusters, base.platform)
    for path in sorted(expected.keys() | _list_generated(base.files)):
        ours, theirs = expected.get(path), base.files.get(path)
        if ours == theirs or (
            ours is not None and theirs is not None and _differ_in_weights(path, ours, theirs)
        ):
            continue
        difference = (
            "is missing" if theirs is None else "is not rendered" if ours is None else "differs"
        )
        raise StepError(
            f"{base.platform.layout.place(path)} {difference}: the tree is not what its spec and release render to",
            hint="another driftloop version rendered it, or it was edited by hand: `driftloop commit` the spec again "
            "with the version in use here",
        )


def _refuse_errors(tree: Mapping[str, str], cluster: str, layout: Layout | None) -> None:
    """Raise RenderError for the first error of the check of a rendered tree, seen from one
    cluster, as its patches make it."""
    here = {path: text for path, text in tree.items() if trees.cluster_of(path) in (None, cluster)}
    built = render.patch_tree(here).files
    errors = [finding for finding in check_files(built) if finding.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        if layout is not None:
            first = replace(first, path=layout.place(first.path))
        raise RenderError(
            f"{first.place} {first.code}: {first.text}"
            + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""),
            hint=first.fix,
        )


def commit_spec(
    repository: Repository,
    text: str,
    *,
    path: str = trees.SPEC,
    cluster: str | None = None,
    cause: str = "",
    subject: str | None = None,
    allow: frozenset[str] | None = None,
) -> Commit | None:
    """Render a spec over the pipeline's files and commit it; the release is kept. None when
    nothing changes.

    `cluster` is that of the repository's layout when left out. `allow` names the surprises to allow, None
    allows all; SurpriseError for any other.
    """
    pipeline = spec.load_spec(text, path=path)
    name = pipeline.metadata.name

    def build_change(tree: Tree) -> RepositoryChange | None:
        exists = spec_path(name) in tree
        base = read_pipeline(tree, name) if exists else None
        release = base.release if base is not None else None
        own = tree.layout.cluster if tree.layout is not None else CLUSTER
        own = own if cluster is None else cluster
        platform = read_platform(tree, tree.layout, own)
        clusters = sorted({*(base.clusters if base is not None else ()), own})
        files = base.files if base is not None else _select_files(tree, name)
        if release is not None and release.namespace != (namespace := _read_namespace(pipeline)):
            raise GitError(
                f"pipeline `{name}` is in namespace `{release.namespace}`, the spec has `{namespace}`",
                hint=f"a namespace can't change: keep it, or `driftloop remove {name}` first",
            )
        if release is not None and _is_unchanged(text, release, clusters, files, platform):
            return None
        refuse_exceeded(text, path, platform)
        verb = "Change" if exists else "Add"
        new = _render_clusters(text, release, name, clusters, platform, path=path)
        _remember_clusters(text, release, name, clusters, platform, path=path)
        check_reached(tree, tree.layout, own, name)
        _refuse_errors(new, own, tree.layout)
        if allow is not None:
            _refuse_surprises(tree, new, name, files if exists else None, allow)
        return RepositoryChange(
            _overlay_files(files, new),
            subject or f"{verb} pipeline {name}",
            trailers={
                "Driftloop-Pipeline": name,
                "Driftloop-Phase": release.phase if release is not None else "empty",
                "Driftloop-Cause": cause,
            },
        )

    return repository.change(build_change)


def _refuse_surprises(
    tree: Tree,
    new: Mapping[str, str],
    name: str,
    files: Mapping[str, str] | None,
    allow: frozenset[str],
) -> None:
    """Raise SurpriseError for what a rendered tree does beside that of a pipeline's files, None for a new pipeline, and
    `allow` does not name."""
    impact = SpecImpact()
    if files is not None:
        generated = _list_generated(files)
        ours = {path: files[path] for path in files if path in new or path in generated}
        impact = assess_impact(ours, new, pipeline=name)
    full = find_room_surprises(tree, new, pipeline=name)
    refuse_surprises(replace(impact, surprises=(*impact.surprises, *full)), allow)


def commit_transition(
    repository: Repository,
    name: str,
    step: Callable[[Release], Release],
    message: Callable[[Release, Release], TransitionMessage],
) -> TransitionResult:
    """Commit a transition of a pipeline's release by one push; a step that returns its argument
    commits nothing.

    That is one commit, but for a promotion, or a rollback of the loop's own during a rollout: its
    parent is a commit that ends the rollout, so that `git revert` of it is the release before the
    rollout. Both are pushed
    together, and Flux sees the last only. `step` and `message` see the release at the tip and
    are called again after a lost race. StepError when the tip's tree is not what it renders to.
    """
    latest: list[Release] = []

    def build_changes(tree: Tree) -> list[RepositoryChange]:
        base = read_pipeline(tree, name)
        after = step(base.release)
        latest[:] = [after]
        stages = record.split_move(base.release, after)
        if not stages:
            return []
        check_rendered(base)
        why = message(base.release, after)
        files = base.files
        changes = []
        for stage in stages:
            below = why.below or _build_end_message(name, why)
            message_of_stage = why if stage is after else below
            new = _render_clusters(base.spec, stage, name, base.clusters, base.platform)
            laid = _overlay_files(files, new)
            changes.append(
                RepositoryChange(
                    laid,
                    message_of_stage.subject,
                    message_of_stage.body,
                    _build_trailers(name, stage, message_of_stage),
                )
            )
            files = {path: text for path, text in {**files, **laid}.items() if text is not None}
        return changes

    commit = repository.change(build_changes)
    return TransitionResult(latest[-1], commit)


def commit_carried(
    repository: Repository,
    name: str,
    text: str | None,
    step: Callable[[Release], Release],
    message: Callable[[Release, Release], TransitionMessage],
    *,
    allow: frozenset[str] = frozenset(),
) -> TransitionResult:
    """Commit a spec and a transition of its release together, for a pipeline that need not be there yet. `text` None
    keeps the spec.

    SurpriseError for surprises that `allow` does not name; StepError when the tip's tree is not what it renders to.
    """
    latest: list[Release] = []

    def build_change(tree: Tree) -> RepositoryChange | None:
        base = read_pipeline(tree, name) if spec_path(name) in tree or text is None else None
        layout = tree.layout
        cluster = layout.cluster if layout is not None else CLUSTER
        platform = read_platform(tree, layout, cluster)
        if base is not None:
            check_rendered(base)
        if text is not None:
            refuse_exceeded(text, spec_path(name), platform)
        new_text = text or (base.spec if base is not None else "")
        pipeline = spec.load_spec(new_text, path=spec_path(name))
        before = base.release if base is not None else None
        before = before or record.empty_release(name, _read_namespace(pipeline))
        if before.namespace != (namespace := _read_namespace(pipeline)):
            raise GitError(
                f"pipeline `{name}` is in namespace `{before.namespace}`, the spec has `{namespace}`",
                hint="a namespace can't change: both clusters have the same one",
            )
        after = step(before)
        latest[:] = [after]
        if base is not None and after == before and new_text == base.spec:
            return None
        files = base.files if base is not None else _select_files(tree, name)
        check_reached(tree, layout, cluster, name)
        new = _render_clusters(new_text, after, name, [cluster], platform)
        _refuse_errors(new, cluster, layout)
        if base is not None:
            _refuse_surprises(tree, new, name, files, allow)
        why = message(before, after)
        return RepositoryChange(
            _overlay_files(files, new), why.subject, why.body, _build_trailers(name, after, why)
        )

    commit = repository.change(build_change)
    return TransitionResult(latest[-1], commit)


def _build_end_message(name: str, promotion: TransitionMessage) -> TransitionMessage:
    """Return the message of the commit below a promotion."""
    return replace(
        promotion,
        outcome=None,
        subject=f"{_ENDED}{promotion.version.id} of {name}: accepted",
        body="The release as it was before the rollout. Never applied: the promotion came with the same push, and "
        "reverting that one leads here.",
    )


def find_interference(repository: Repository, tip: str, name: str, run: str) -> Commit | None:
    """Return the commit by which somebody else changed a run's release; None when nobody did.

    The newest commit with the run's trailer holds the release as the run left it. Changed
    weights are no interference.
    """
    newest = repository.find(tip, "Driftloop-Run", run)
    if newest is None:
        return repository.last_touching(tip, release_path(name))
    left = read_pipeline(repository.tree(newest.commit.sha), name).release
    current = read_pipeline(repository.tree(tip), name).release
    if (left.phase, left.production, left.candidate) == (
        current.phase,
        current.production,
        current.candidate,
    ):
        return None
    return repository.last_touching(tip, release_path(name))


@dataclass(frozen=True)
class RemovalStage:
    """One commit of a removal: the files it removes."""

    subject: str
    gone: tuple[str, ...]
    """Paths, or folders that end in `/`."""


def list_removal_stages(name: str, follower: str = "Flux") -> tuple[RemovalStage, ...]:
    """Return the commits in the order a cluster needs: the objects of Flux or Argo CD, then the folders, which
    it reads as long as it has objects for them, and the account by which it removes what they
    held; the namespace goes with that.

    The event bus goes with its listeners: its controller holds its finalizer until they are gone.
    """
    return (
        RemovalStage(f"Remove {name} from {follower}", (trees.flux_path("*", name),)),
        RemovalStage(
            f"Remove the files of {name}",
            (*trees.pipeline_folders(name), trees.access_path("*", name)),
        ),
    )


def remove_stage(
    repository: Repository, name: str, stage: RemovalStage, *, cause: str = ""
) -> Commit | None:
    """Commit one stage of a removal; None when it was committed before. Hand-written files stop
    it."""

    def build_change(tree: Tree) -> RepositoryChange | None:
        files = _select_files(tree, name)
        gone = [
            path for path in files if any(matches_pattern(path, pattern) for pattern in stage.gone)
        ]
        if not gone:
            return None
        changes = dict.fromkeys(gone) | _keep_folders(tree, gone)
        return RepositoryChange(
            changes, stage.subject, trailers={"Driftloop-Pipeline": name, "Driftloop-Cause": cause}
        )

    return repository.change(build_change)


def _keep_folders(tree: Tree, gone: list[str]) -> dict[str, str | None]:
    """Keep the folder of a cluster without pipelines: Flux would report a missing path and prune
    nothing."""
    clusters = {
        "/".join(path.split("/")[:2]) for path in gone if path.startswith(f"{trees.CLUSTER}/")
    }
    left = {path for path in tree if path not in gone}
    return {
        f"{c}/.gitkeep": "" for c in clusters if not any(path.startswith(f"{c}/") for path in left)
    }


def matches_pattern(path: str, pattern: str) -> bool:
    """Return True when a path matches an entry of `Stage.gone`: the path itself, `*` for one
    folder, or a folder."""
    if pattern.endswith("/"):
        return path.startswith(pattern)
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]+"), path) is not None


def _select_files(tree: Tree, name: str) -> dict[str, str]:
    return {path: tree[path] for path in tree if trees.belongs_to(path, name)}


def _list_generated(files: Mapping[str, str]) -> set[str]:
    return {path for path, text in files.items() if trees.is_generated(text)}


def _overlay_files(files: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str | None]:
    """Return the new files, and deletions of the generated files that are not among them."""
    return {**dict.fromkeys(_list_generated(files) - new.keys()), **new}


def _is_unchanged(
    text: str,
    release: Release,
    clusters: Iterable[str],
    files: Mapping[str, str],
    platform: PlatformFile,
) -> bool:
    """Return True if a pipeline's files are what the spec and the release rendered to before: to
    render them again costs half a second of imports."""
    digests = remembered.recall_digests(
        text, record.dump_release(release), clusters=clusters, platform=platform
    )
    if digests is None:
        return False
    ours = {path: files[path] for path in files.keys() & digests.keys() | _list_generated(files)}
    return remembered.digest_tree(ours) == digests


def _remember_clusters(
    text: str,
    release: Release | None,
    name: str,
    clusters: Iterable[str],
    platform: PlatformFile,
    *,
    path: str,
) -> None:
    release_text = record.dump_release(release) if release is not None else None
    for cluster in clusters:
        own = platform_of(platform, cluster)
        tree = _render_tree(text, release_text, path, own)
        remembered.remember_tree(text, release_text, tree, name=name, platform=own)


def _render_clusters(
    text: str,
    release: Release | None,
    name: str,
    clusters: Iterable[str],
    platform: PlatformFile,
    *,
    path: str | None = None,
) -> dict[str, str]:
    release_text = record.dump_release(release) if release is not None else None
    files: dict[str, str] = {}
    for cluster in clusters:
        own = platform_of(platform, cluster)
        shown = path or own.layout.place(spec_path(name))
        files |= _render_tree(text, release_text, shown, own)
    return files


@lru_cache(maxsize=16)
def _render_tree(
    text: str, release_text: str | None, path: str, platform: PlatformFile
) -> Mapping[str, str]:
    """Render once: after a lost race with the writer of another pipeline, the tree is still the
    same."""
    return MappingProxyType(render.render_tree(text, release_text, path=path, platform=platform))


def _differ_in_weights(path: str, ours: str, theirs: str) -> bool:
    if not path.startswith(f"{trees.DEPLOYMENTS}/"):
        return False
    try:
        return bool(_drop_weights(ours, path) == _drop_weights(theirs, path))
    except RenderError:
        return False


def _drop_weights(text: str, path: str) -> Any:
    def drop_from(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: drop_from(item)
                for key, item in value.items()
                if key not in _WEIGHTS or isinstance(item, dict)
            }
        return [drop_from(item) for item in value] if isinstance(value, list) else value

    return [drop_from(document) for document in load_documents(text, path, error=RenderError)]


def _read_namespace(pipeline: spec.Pipeline) -> str:
    return pipeline.metadata.namespace or pipeline.metadata.name


def _build_trailers(name: str, release: Release, why: TransitionMessage) -> dict[str, str]:
    version = why.version
    return {
        "Driftloop-Pipeline": name,
        TAKEN_BACK_TRAILER: why.taken_back,
        ROLLED_BACK_TRAILER: why.left,
        DECISION_TRAILER: why.decision,
        "Driftloop-Release": version.id,
        "Driftloop-Phase": release.phase,
        "Driftloop-Cause": why.cause,
        "Driftloop-Run": version.run,
        "Driftloop-Data-Digest": version.data_digest,
        "Driftloop-Model-Digest": version.model_digest,
        "Driftloop-Recipe-Digest": version.recipe_digest or "",
        "Driftloop-Forced": "true" if version.forced else "",
        APPROVED_BY_TRAILER: why.approved_by,
        **_build_outcome_trailers(why.outcome),
    }


def _build_outcome_trailers(outcome: RunOutcome | None) -> dict[str, str]:
    if outcome is None:
        return {}
    return {OUTCOME_TRAILER: outcome.kind, REASON_TRAILER: " ".join(outcome.reason.split())}


def was_applied(logged: LoggedCommit) -> bool:
    """Return False for the commit that ends a rollout: the promotion comes with the same push, so that Flux
    never sees it."""
    return not logged.commit.subject.startswith(_ENDED)


def read_outcome_trailers(found: LoggedCommit) -> tuple[OutcomeKind, str] | None:
    """Return outcome and reason of the commit that ended a rollout; None for any other commit."""
    kind = found.trailers.get(OUTCOME_TRAILER)
    for known in OUTCOME_KINDS:
        if kind == known:
            return known, found.trailers.get(REASON_TRAILER) or found.commit.subject
    return None
