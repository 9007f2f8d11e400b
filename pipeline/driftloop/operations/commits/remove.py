"""Remove a pipeline in the order a cluster needs: its folders go once Flux or Argo CD has no objects for
them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.contract.layout import name_follower
from driftloop.contract.names import Names
from driftloop.contract.trees import TREES, release_path
from driftloop.errors import GitError
from driftloop.git.repository import Commit, Repository
from driftloop.operations.commits import applied, released, releases
from driftloop.operations.commits.releases import RemovalStage
from driftloop.operations.commits.target import CommitTarget
from driftloop.platform import PlatformFile
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.model import Flux
from driftloop.release import record


@dataclass(frozen=True)
class RemovalResult:
    """The last commit of a removal, and whether all of them are made."""

    commit: Commit | None
    done: bool


def remove_pipeline(
    target: CommitTarget,
    api: KubernetesClient | None,
    name: str,
    *,
    timeout: float,
    report: Callable[[str], None],
) -> RemovalResult:
    """Commit the stages of a removal that are not committed yet.

    Without an API only the next one is committed: nothing tells when it is applied. `timeout` is
    in seconds for each stage. GitError when the repository has no such pipeline, StepError when
    a commit is not applied in time.
    """
    platform = _read_platform(target)
    follower = name_follower(platform.spec.follows)
    stages = releases.list_removal_stages(name, follower)
    _ensure_pipeline(target.repository, name, stages)
    commit = None
    for stage in stages:
        made = releases.remove_stage(target.repository, name, stage, cause=target.cause)
        if made is None:
            continue
        commit = made
        report(f"{made.sha[:12]} {stage.subject}")
        if api is not None and (refusal := _request_fetch(api, platform)):
            report(
                f"  {follower} fetches the commit in its own time, asking it to was refused: {refusal}"
            )
        if stage is stages[-1]:
            break
        if api is None:
            report(
                f"the runtime is not reachable from here: run this command again once {follower} has applied the commit"
            )
            return RemovalResult(commit, done=False)
        names = Names(name, _read_namespace(target.repository, name))
        _wait_until_removed(api, names, stage.subject, timeout, report, platform=platform)
    return RemovalResult(commit, done=True)


def _read_platform(target: CommitTarget) -> PlatformFile:
    return target.read_platform(target.repository.tree(target.repository.tip()))


def _request_fetch(api: KubernetesClient, platform: PlatformFile) -> str | None:
    """Have the repository looked at now; the reason when that is refused."""
    match platform.spec.follower:
        case Flux() as own:
            source = own.source_ref
            return api.request_fetch(source.namespace or own.namespace, source.name)
        case ArgoCd() as own:
            return api.request_refresh(own.namespace, own.application)
        case other:
            assert_never(other)


def _ensure_pipeline(repository: Repository, name: str, stages: tuple[RemovalStage, ...]) -> None:
    """Raise GitError when nothing of the pipeline is left."""
    tree = repository.tree(repository.tip())
    patterns = [pattern for stage in stages for pattern in stage.gone]
    if not any(releases.matches_pattern(path, pattern) for path in tree for pattern in patterns):
        names = ", ".join(released.list_pipelines(tree)) or "none"
        raise GitError(f"the cluster repository has no pipeline `{name}`, it has: {names}")


def _wait_until_removed(
    api: KubernetesClient,
    names: Names,
    subject: str,
    timeout: float,
    report: Callable[[str], None],
    *,
    platform: PlatformFile,
) -> None:
    match platform.spec.follower:
        case Flux() as own:
            kind, read = "Kustomizations", api.get_kustomization
        case ArgoCd() as own:
            kind, read = "Applications", api.get_application
        case other:
            assert_never(other)

    def describe_missing() -> str:
        left = [
            tree
            for tree in reversed(TREES)
            if read(own.namespace, names.kustomization_name(tree)) is not None
        ]
        return f"{kind} not removed yet: {', '.join(left)}" if left else ""

    started = time.monotonic()
    for reason in applied.wait_until_applied(describe_missing, seconds=timeout, what=subject):
        report(f"  waiting: {reason}")
    report(f"  applied after {time.monotonic() - started:.1f} s")


def _read_namespace(repository: Repository, name: str) -> str:
    path = release_path(name)
    text = repository.tree(repository.tip()).get(path)
    return record.load_release(text, path=path).namespace if text is not None else name
