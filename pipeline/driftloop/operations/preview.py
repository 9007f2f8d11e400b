"""Preview a commit of a spec: what it changes in the tree, and what follows from that."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.contract import trees
from driftloop.operations import files
from driftloop.operations.impact import Impact, impact
from driftloop.operations.target import Target
from driftloop.render import Change, diff, owned, rendered


@dataclass(frozen=True)
class Preview:
    """The changes that a commit of a spec would make, and their impact."""

    pipeline: str
    impact: Impact
    changes: tuple[Change, ...]


def preview_commit(spec: Path, text: str, existing: Mapping[str, str], *, cluster: str) -> Preview:
    """Compare what a spec renders to with the files of its pipeline that exist; writes nothing.

    `text` is the spec's text, which with new pins is not yet that of the file.
    """
    name = read_name(spec)
    new = rendered(text, existing.get(trees.release_path(name)), path=str(spec), cluster=cluster)
    old = owned(existing, new, pipeline=name)
    return Preview(name, impact(old, new, pipeline=name), tuple(diff(old, new)))


def read_name(spec: Path) -> str:
    """Return the name of a spec's pipeline."""
    return files.spec(spec).pipeline.metadata.name


def read_committed(target: Target, name: str, *, cluster: str) -> Mapping[str, str]:
    """Return the files of a pipeline at the tip of the cluster repository, by path."""
    tree = target.repository.tree(target.repository.tip())
    folders, flux = trees.pipeline_folders(name), trees.flux_path(cluster, name)
    return {path: tree[path] for path in tree if path.startswith(folders) or path == flux}
