"""Pipelines of a cluster repository, or of a cluster, with what their releases are."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driftloop.errors import PipelineError
from driftloop.git.repository import Repository
from driftloop.operations.commits.released import list_pipelines
from driftloop.operations.commits.releases import read_pipeline


@dataclass(frozen=True)
class ListedPipeline:
    """A pipeline and where its release stands; with a problem, only its name is known."""

    pipeline: str
    namespace: str | None = None
    clusters: tuple[str, ...] = ()
    """Clusters of the repository that it is rendered for; none for one that a cluster itself listed."""
    phase: str | None = None
    production: str | None = None
    candidate: str | None = None
    weights: dict[str, int] | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the pipeline as plain data."""
        return asdict(self)


def list_committed(repository: Repository) -> list[ListedPipeline]:
    """Return the pipelines at the tip of the repository's branch, by name."""
    tree = repository.tree(repository.tip())
    listed = []
    for name in list_pipelines(tree):
        try:
            found = read_pipeline(tree, name)
        except PipelineError as error:
            listed.append(ListedPipeline(name, problem=error.message))
            continue
        release = found.release
        listed.append(
            ListedPipeline(
                name,
                release.namespace,
                found.clusters,
                release.phase,
                release.production.id if release.production else None,
                release.candidate.id if release.candidate else None,
                dict(release.weights),
            )
        )
    return listed


def list_running(
    kubeconfig: Path | None, context: str | None, namespace: str | None
) -> tuple[list[ListedPipeline], list[str]]:
    """Return the pipelines of a cluster, as what routes their requests says, and what could not be read."""
    # they load the library of Kubernetes
    from driftloop.cluster.reader import ApiReader
    from driftloop.cluster.status import list_releases

    namespaces = (namespace,) if namespace else ()
    found, unknown = list_releases(ApiReader(kubeconfig, context), namespaces)
    return [ListedPipeline(**each) for each in found], unknown
