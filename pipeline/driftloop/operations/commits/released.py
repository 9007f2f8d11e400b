"""The release of a pipeline in a commit, for those that render nothing: to load what renders takes half a second."""

from collections.abc import Mapping

from driftloop.contract import trees
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import GitError
from driftloop.git.repository import Tree
from driftloop.release import record
from driftloop.release.record import Release


def list_pipelines(tree: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the pipelines of a tree, sorted."""
    return tuple(sorted(filter(None, map(trees.pipeline_of_spec, tree))))


def read_release(tree: Tree, name: str) -> Release:
    """Read a pipeline's release from a tree; GitError when the pipeline does not exist, ReleaseError when
    release.yaml is invalid."""
    if spec_path(name) not in tree:
        listed = ", ".join(list_pipelines(tree)) or "none"
        raise GitError(
            f"the cluster repository has no pipeline `{name}`, it has: {listed}",
            hint="`driftloop commit` adds one",
        )
    text = tree.get(release_path(name))
    if text is None:
        raise GitError(
            f"{place_file(tree, release_path(name))} does not exist",
            hint="`git revert` the commit that removed it",
        )
    return record.load_release(text, path=place_file(tree, release_path(name)))


def place_file(tree: Tree, path: str) -> str:
    """Return where a file stands in the repository."""
    return path if tree.layout is None else tree.layout.place(path)
