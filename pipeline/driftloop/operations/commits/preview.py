"""Preview a commit of a spec: what it changes in the tree, and what follows from that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from driftloop.contract import trees
from driftloop.operations.commits.impact import SpecImpact, assess_impact
from driftloop.operations.commits.room import decides_room, find_room_surprises
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.commits.unfitted import describe_unfitted
from driftloop.operations.ground import files as spec_files
from driftloop.plan import make_plan
from driftloop.plan.kept import refuse_exceeded
from driftloop.platform import PlatformFile
from driftloop.release import record
from driftloop.render import FileChange, compare_trees, owned_files, render_tree
from driftloop.spec import load_spec


@dataclass(frozen=True)
class CommitPreview:
    """The changes that a commit of a spec would make, and their impact."""

    pipeline: str
    impact: SpecImpact
    changes: tuple[FileChange, ...]
    unfitted: str = ""
    """What production lacks of the spec's monitors, in words; empty when it lacks nothing."""


def preview_commit(
    spec: Path, text: str, existing: Mapping[str, str], *, platform: PlatformFile
) -> CommitPreview:
    """Compare what a spec renders to with the files of its pipeline that exist; writes nothing.

    The room in JetStream is read from the platform and the other specs among `existing`.
    `text` is the spec's text, which with new pins is not yet that of the file.
    """
    name = read_name(spec)
    refuse_exceeded(text, str(spec), platform)
    new = render_tree(
        text, existing.get(trees.release_path(name)), path=str(spec), platform=platform
    )
    old = owned_files(existing, new, pipeline=name)
    impact = assess_impact(old, new, pipeline=name)
    surprises = (*impact.surprises, *find_room_surprises(existing, new, pipeline=name))
    changes = (
        replace(change, path=platform.layout.place(change.path))
        for change in compare_trees(old, new)
    )
    unfitted = ""
    if (release := existing.get(trees.release_path(name))) is not None:
        plan = make_plan(load_spec(text, path=str(spec)), platform=platform)
        unfitted = describe_unfitted(plan, record.load_release(release))
    impact = replace(impact, surprises=surprises)
    return CommitPreview(name, impact, tuple(changes), unfitted)


def rename_cluster(files: Mapping[str, str], old: str, new: str) -> Mapping[str, str]:
    """Return the files of a cluster under the paths that another one has for them."""
    start = f"{trees.CLUSTER}/{old}/"
    return {
        f"{trees.CLUSTER}/{new}/{path.removeprefix(start)}"
        if path.startswith(start)
        else path: text
        for path, text in files.items()
    }


def read_name(spec: Path) -> str:
    """Return the name of a spec's pipeline."""
    return spec_files.read_spec(spec).pipeline.metadata.name


def read_committed(target: CommitTarget, name: str) -> tuple[Mapping[str, str], PlatformFile]:
    """Return the files of a pipeline at the tip of the cluster repository, by path, and those
    that its room in JetStream depends on; and the platform of the cluster."""
    tree = target.repository.tree(target.repository.tip())
    platform = target.read_platform(tree)
    folders = trees.pipeline_folders(name)
    placed = trees.cluster_paths(platform.cluster, name)
    files = {
        path: tree[path]
        for path in tree
        if path.startswith(folders) or path in placed or decides_room(path)
    }
    return files, platform
