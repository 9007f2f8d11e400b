"""Render specs into a folder, or check that the folder holds what they render to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftloop.contract import trees
from driftloop.errors import RenderError
from driftloop.operations.commits import remembered
from driftloop.operations.commits.clusters import choose_platform
from driftloop.operations.ground import files
from driftloop.plan.kept import refuse_exceeded
from driftloop.platform import PlatformFile, find_platforms
from driftloop.render import FileChange, Tree, compare_trees, owned_files, render_tree


@dataclass(frozen=True)
class RenderedSpec:
    """A spec, its pipeline, the number of its files, and the differences to the folder."""

    name: str
    spec: Path
    files: int
    changes: tuple[tuple[str, str], ...] = ()
    """Kind and path, without the texts: those of many pipelines would fill the memory."""


def choose_cluster(folder: Path, cluster: str | None) -> PlatformFile:
    """Return the platform of a cluster of a folder; without a name that of the only one."""
    return choose_platform(files.FolderTree(folder), cluster)


def choose_platforms(folder: Path, cluster: str | None) -> Sequence[PlatformFile]:
    """Return the platform of a cluster of a folder; without a name all that it has."""
    tree = files.FolderTree(folder)
    declared = find_platforms(tree) if cluster is None else ()
    return declared or (choose_platform(tree, cluster),)


def find_specs(folder: Path, cluster: str | None) -> Sequence[tuple[Path, PlatformFile]]:
    """Return the specs of all pipelines of a cluster in a folder, of all its clusters when none is named, each with its
    cluster's platform; RenderError when there is none."""
    platforms = choose_platforms(folder, cluster)
    patterns = {each.layout.place(trees.SPECS): each for each in platforms}
    specs = [
        (spec, platform)
        for pattern, platform in patterns.items()
        for spec in sorted(folder.glob(pattern))
    ]
    if not specs:
        raise RenderError(
            f"{folder} has no pipeline: {', '.join(patterns)} does not exist",
            hint="name a spec: `driftloop render pipeline.yaml --into FOLDER`",
        )
    return specs


def render_spec(spec: Path, folder: Path, *, platform: PlatformFile) -> RenderedSpec:
    """Render a spec with the release of the folder, and write what differs."""
    name, text, existing = _read_existing(spec, folder, platform)
    tree, changes = _render_tree(spec, name, text, existing, platform)
    files.write_changes(changes, folder, platform.layout)
    return RenderedSpec(name, spec, len(tree), _summarize_changes(changes, platform))


def check_spec(spec: Path, folder: Path, *, platform: PlatformFile) -> RenderedSpec:
    """Return what differs in the folder; renders only what the cache does not know."""
    name, text, existing = _read_existing(spec, folder, platform)
    digests = remembered.recall_digests(
        text,
        existing.get(trees.release_path(name), ""),
        clusters=[platform.cluster],
        platform=platform,
    )
    if digests is not None:
        unchanged = owned_files(existing, dict.fromkeys(digests, ""), pipeline=name)
        if remembered.digest_tree(unchanged) == digests:
            return RenderedSpec(name, spec, len(digests))
    tree, changes = _render_tree(spec, name, text, existing, platform)
    return RenderedSpec(name, spec, len(tree), _summarize_changes(changes, platform))


def _read_existing(
    spec: Path, folder: Path, platform: PlatformFile
) -> tuple[str, str, Mapping[str, str]]:
    """Return the pipeline's name, the spec's text, and the pipeline's files in the folder."""
    text = files.read_spec_text(spec)
    name = remembered.recall_pipeline(text) or files.read_spec(spec).pipeline.metadata.name
    return name, text, files.read_tree(folder, name, platform.layout)


def _render_tree(
    spec: Path, name: str, text: str, existing: Mapping[str, str], platform: PlatformFile
) -> tuple[Tree, tuple[FileChange, ...]]:
    release = existing.get(trees.release_path(name))
    refuse_exceeded(text, str(spec), platform)
    tree = render_tree(text, release, path=str(spec), platform=platform)
    remembered.remember_tree(text, release, tree, name=name, platform=platform)
    return tree, compare_trees(owned_files(existing, tree, pipeline=name), tree)


def _summarize_changes(
    changes: Sequence[FileChange], platform: PlatformFile
) -> tuple[tuple[str, str], ...]:
    return tuple((change.kind, platform.layout.place(change.path)) for change in changes)
