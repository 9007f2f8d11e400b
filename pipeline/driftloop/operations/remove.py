"""Remove a pipeline in the order a cluster needs: each commit waits until the one before is
applied."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from driftloop.clients.kubernetes import Kubernetes
from driftloop.contract.names import FLUX_NAMESPACE, Names
from driftloop.contract.trees import release_path
from driftloop.errors import GitError
from driftloop.git.repository import Commit, Repository
from driftloop.operations import applied, releases
from driftloop.operations.applied import Applied
from driftloop.operations.releases import Stage
from driftloop.operations.target import Target
from driftloop.release import record


@dataclass(frozen=True)
class Removal:
    """The last commit of a removal, and whether all of them are made."""

    commit: Commit | None
    done: bool


def remove_pipeline(
    target: Target,
    api: Kubernetes | None,
    name: str,
    *,
    timeout: float,
    report: Callable[[str], None],
) -> Removal:
    """Commit the stages of a removal that are not committed yet.

    Without an API only the next one is committed: nothing tells when it is applied. `timeout` is
    in seconds for each stage. GitError when the repository has no such pipeline, StepError when
    a commit is not applied in time.
    """
    stages = releases.removal(name)
    _ensure_pipeline(target.repository, name, stages)
    commit = None
    for stage in stages:
        made = releases.remove_stage(target.repository, name, stage, cause=target.cause)
        if made is None:
            continue
        commit = made
        report(f"{made.sha[:12]} {stage.subject}")
        if stage is stages[-1]:
            break
        if api is None:
            report("the runtime is not reachable from here: run this command again once Flux has applied the commit")
            return Removal(commit, done=False)
        runtime = Applied(api, target.repository, Names(name, _read_namespace(target.repository, name)))
        _wait_until_applied(runtime, stage, made.sha, timeout, report)
    return Removal(commit, done=True)


def _ensure_pipeline(repository: Repository, name: str, stages: tuple[Stage, ...]) -> None:
    """Raise GitError when nothing of the pipeline is left."""
    tree = repository.tree(repository.tip())
    patterns = [pattern for stage in stages for pattern in stage.gone]
    if not any(releases.matches(path, pattern) for path in tree for pattern in patterns):
        names = ", ".join(releases.names(tree)) or "none"
        raise GitError(f"the cluster repository has no pipeline `{name}`, it has: {names}")


def _wait_until_applied(
    runtime: Applied, stage: Stage, commit: str, timeout: float, report: Callable[[str], None]
) -> None:
    def describe_missing() -> str:
        if stage.wait:
            runtime.repository.tip()
            return runtime.missing(commit, trees=stage.wait)
        left = [
            tree
            for tree in ("monitors", "deployments", "workflows")
            if runtime.kubernetes.kustomization(FLUX_NAMESPACE, runtime.names.flux(tree)) is not None
        ]
        return f"Kustomizations not removed yet: {', '.join(left)}" if left else ""

    started = time.monotonic()
    for reason in applied.wait(describe_missing, seconds=timeout, what=stage.subject):
        report(f"  waiting: {reason}")
    report(f"  applied after {time.monotonic() - started:.1f} s")


def _read_namespace(repository: Repository, name: str) -> str:
    path = release_path(name)
    text = repository.tree(repository.tip()).get(path)
    return record.load(text, path=path).namespace if text is not None else name
