"""`driftloop remove`: take a pipeline away in the order a cluster needs, one commit after the other is applied."""

import time
from pathlib import Path

import click

from driftloop.cli import target
from driftloop.clients.kubernetes import Kubernetes
from driftloop.contract.names import FLUX_NAMESPACE, Names
from driftloop.contract.trees import release_path
from driftloop.errors import GitError
from driftloop.git.repository import Repository
from driftloop.operations import applied
from driftloop.operations import releases as pipelines
from driftloop.operations.applied import Applied
from driftloop.operations.releases import Stage
from driftloop.release import record


@click.command()
@click.argument("name")
@target.options
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for each commit to be applied.")
@target.output
def command(*, name: str, repository: str | None, branch: str, state: Path, timeout: float, output: str) -> None:
    """Take pipeline NAME out of the cluster repository: triggers, event bus, Flux, files.

    Each commit waits until the one before is applied. Where the runtime can't be seen (no `up`, no
    DRIFTLOOP_KUBERNETES_URL), one commit is made, and the same command goes on once Flux has applied it.
    """
    api = target.runtime(state)
    with target.opened(repository, branch, state) as to:
        stages = pipelines.removal(name)
        _known(to.repository, name, stages)
        commit = None
        for stage in stages:
            made = pipelines.remove_stage(to.repository, name, stage, cause=to.cause)
            if made is None:
                continue
            commit = made
            target.say(f"{made.sha[:12]} {stage.subject}")
            if stage is stages[-1]:
                break
            if api is None:
                target.say("the runtime can't be seen from here: run the same command again once Flux has applied this")
                break
            look = Applied(api, to.repository, Names(name, _namespace(to.repository, name)))
            _wait(look, stage, made.sha, timeout)
    target.print_commit(commit, name, output, done=commit is None or stage is stages[-1])


def _known(repository: Repository, name: str, stages: tuple[Stage, ...]) -> None:
    """GitError when nothing of the pipeline is left, naming those that are there."""
    tree = repository.tree(repository.tip())
    left = [path for path in tree if any(pipelines.matches(path, gone) for stage in stages for gone in stage.gone)]
    if not left:
        known = ", ".join(pipelines.names(tree)) or "none"
        raise GitError(f"the cluster repository has no pipeline `{name}`, it has: {known}")


def _wait(look: Applied, stage: Stage, commit: str, timeout: float) -> None:
    def missing() -> str:
        if stage.wait:
            look.repository.tip()
            return look.missing(commit, trees=stage.wait)
        left = [
            tree for tree in ("monitors", "deployments", "workflows") if _there(look.kubernetes, look.names.flux(tree))
        ]
        return f"Kustomizations still there: {', '.join(left)}" if left else ""

    started = time.monotonic()
    for reason in applied.wait(missing, seconds=timeout, what=stage.subject):
        target.say(f"  waiting: {reason}")
    target.say(f"  applied after {time.monotonic() - started:.1f} s")


def _there(api: Kubernetes, kustomization: str) -> bool:
    return api.kustomization(FLUX_NAMESPACE, kustomization) is not None


def _namespace(repository: Repository, name: str) -> str:
    path = release_path(name)
    text = repository.tree(repository.tip()).get(path)
    return record.load(text, path=path).namespace if text is not None else name
