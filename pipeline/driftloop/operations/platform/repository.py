"""The platform's files in a repository: written the first time, and brought to this version, with what
people have changed in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from driftloop import __version__
from driftloop.contract import trees
from driftloop.errors import GitError, RenderError
from driftloop.git.merging import Favour, find_marker, merge_texts
from driftloop.git.working_copy import find_root, list_uncommitted
from driftloop.operations.ground.files import write_changes
from driftloop.operations.platform.layout import PlatformSettings
from driftloop.operations.platform.registry import (
    make_platform_file,
    move_registry,
    read_images,
)
from driftloop.operations.platform.upstream import UPSTREAM, Upstream, read_upstream
from driftloop.plan.images import REGISTRY
from driftloop.render import FileChange, compare_trees
from driftloop.text.words import join_some

LISTED = 10
"""Files that a message names at most."""

FLUX_SYNC = "flux-system/gotk-sync.yaml"
"""What `flux bootstrap` leaves in the folder that Flux reads."""

Resolution = Literal["refuse", "markers", "mine", "theirs"]
"""What becomes of lines that a person and the new version both changed."""
_FAVOURS: Mapping[Resolution, Favour] = {"mine": "ours", "theirs": "theirs"}


@dataclass(frozen=True)
class Conflict:
    """A place that a person and the new version both changed."""

    path: str
    line: int | None
    """In the repository's file; None for the whole file."""
    reason: str
    resolved: bool = False
    """True when the changes have one side, or both between markers."""

    @property
    def place(self) -> str:
        """`file:line`, or the file."""
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True)
class PlatformChange:
    """What a command does to the platform's files of a repository, not done yet."""

    root: Path
    before: str | None
    """Version that wrote the files; None when they are new."""
    changes: tuple[FileChange, ...]
    """Without the record."""
    upstream: Upstream
    patched: tuple[str, ...] = ()
    """Files that a person has changed, and that keep the change."""
    conflicts: tuple[Conflict, ...] = ()
    platform_files: tuple[FileChange, ...] = ()
    """Platform files of clusters, which a person edits: of a new one, and of all where the registry changes."""

    @property
    def refused(self) -> tuple[Conflict, ...]:
        """Conflicts that nobody has resolved."""
        return tuple(conflict for conflict in self.conflicts if not conflict.resolved)

    def write_files(self) -> None:
        """Write the files, the record last: what was interrupted is done again by the same command."""
        write_changes([*self.changes, *self.platform_files], self.root)
        write_changes([FileChange(UPSTREAM, None, self.upstream.format())], self.root)


def plan_platform(
    folder: Path,
    *,
    cluster: str,
    profile: str,
    registry: str | None,
    adopt: bool,
    path: str | None = None,
) -> PlatformChange:
    """Return what writes the platform, or one more cluster of it, into a repository.

    `path` is the folder that Flux reads for the cluster, if it is not `cluster/NAME`. RenderError
    when a file is there already with another text, unless `adopt` takes it as a person's change.
    """
    root = find_root(folder) if folder.is_dir() else None
    if root is not None and root != folder.resolve():
        raise RenderError(
            f"{folder} is in the repository {root}, must be its root: Flux' paths begin there",
            hint=f"name {root}, or make a repository of the folder with `git init {folder}`",
        )
    before = read_upstream(folder)
    own = {} if path is None else {cluster: path}
    images = read_images(folder) if folder.is_dir() else {}
    settings = PlatformSettings({cluster: profile}, registry, own, images)
    upstream = (
        Upstream.make(settings)
        if before is None
        else _add_cluster(before, folder, settings, cluster)
    )
    _refuse_hidden(folder, upstream)
    known = before.files if before is not None else {}
    wanted = {path: text for path, text in upstream.files.items() if path not in known}
    present = _read_present(folder, wanted)
    # what `flux bootstrap` fills is empty upstream, and is left alone
    other = sorted(p for p, text in present.items() if wanted[p] and text != wanted[p])
    if other and not adopt:
        raise RenderError(
            f"{_list_files(folder, other)} must not be overwritten: there already, and other than what driftloop {__version__} writes",
            hint="`--adopt` keeps them as they are, as your changes to it",
        )
    new = {path: text for path, text in wanted.items() if path not in present}
    return PlatformChange(
        folder,
        None,
        compare_trees({}, new),
        upstream,
        tuple(other),
        platform_files=make_platform_file(folder, cluster, upstream.settings),
    )


def _refuse_hidden(folder: Path, upstream: Upstream) -> None:
    """Raise RenderError where Flux reads other folders, which `.sourceignore` would hide from it."""
    known = {upstream.settings.place(cluster) for cluster in upstream.clusters}
    found = {file.parent.parent.relative_to(folder).as_posix() for file in folder.rglob(FLUX_SYNC)}
    if trees.SOURCE_IGNORE in upstream.files and (other := sorted(found - known)):
        raise RenderError(
            f"Flux reads other folders of {folder} than those below `{trees.CLUSTER}/`: {', '.join(other)}",
            hint=f"name the one of this cluster, such as `--path {other[0]}`",
        )


def _add_cluster(before: Upstream, folder: Path, new: PlatformSettings, cluster: str) -> Upstream:
    registry = new.registry
    if cluster in before.clusters:
        raise RenderError(
            f"{folder / before.settings.place(cluster)} is there already, written by driftloop {before.version}",
            hint="`driftloop platform diff` shows what this version changes, `driftloop platform upgrade` does it",
        )
    if registry not in (None, before.registry):
        raise RenderError(
            f"--registry is `{registry}`, and the repository's is {_name_registry(before.registry)}",
            hint=f"`driftloop platform upgrade --registry {registry}` changes it for all clusters",
        )
    grown = Upstream.make(
        PlatformSettings(
            {**before.clusters, **new.clusters},
            before.registry,
            {**before.settings.paths, **new.paths},
            new.images,
        )
    )
    kept = {path: text for path, text in before.files.items() if path != trees.SOURCE_IGNORE}
    if {path: grown.files.get(path) for path in kept} != kept:
        raise RenderError(
            f"the platform of {folder} was written by driftloop {before.version}, and {__version__} writes other files",
            hint="`driftloop platform upgrade` first, then the new cluster",
        )
    return grown


def plan_upgrade(
    folder: Path, *, registry: str | None = None, resolution: Resolution = "refuse"
) -> PlatformChange:
    """Return what brings the platform's files of a repository to this version.

    Each file is merged from the text that driftloop wrote before, the repository's own and the
    new one.
    """
    before = read_upstream(folder)
    if before is None:
        raise RenderError(
            f"{folder / UPSTREAM} does not exist: nothing says what driftloop wrote there",
            hint="`driftloop platform init` writes a platform; `driftloop platform init --adopt` takes a tree that was copied",
        )
    settings = replace(before.settings, images=read_images(folder))
    if registry is not None:
        settings = replace(settings, registry=registry)
    upstream = Upstream.make(settings)
    present = _read_present(folder, {*before.files, *upstream.files})
    own = () if registry is None else move_registry(folder, settings)
    merge = _Merge(before, upstream, resolution)
    texts = dict(present)
    for path in sorted({*before.files, *upstream.files}):
        text = merge.merge_file(path, present.get(path))
        if text is None:
            texts.pop(path, None)
        else:
            texts[path] = text
    return PlatformChange(
        folder,
        before.version,
        compare_trees(present, texts),
        upstream,
        # what `flux bootstrap` fills is empty upstream, and nobody's patch
        tuple(p for p, text in upstream.files.items() if text and texts.get(p) != text),
        tuple(merge.conflicts),
        own,
    )


def check_committed(change: PlatformChange) -> None:
    """Raise GitError unless git has all that a change replaces: what it does can be taken back."""
    root = find_root(change.root)
    if root is None:
        raise GitError(
            f"{change.root} is not in a git repository, so an upgrade could not be taken back",
            hint="commit the files first: `git init`, `git add`, `git commit`",
        )
    prefix = change.root.resolve().relative_to(root.resolve()).as_posix()
    paths = {
        (change.path if prefix == "." else f"{prefix}/{change.path}")
        for change in (*change.changes, *change.platform_files)
        if change.old is not None
    }
    if uncommitted := list_uncommitted(root, paths):
        raise GitError(
            f"{_list_files(root, uncommitted)} would change, and has changes that are not committed",
            hint="commit or stash them, then try again",
        )


class _Merge:
    """Merges files of one repository, and lists where a person and the new version disagree."""

    def __init__(self, before: Upstream, after: Upstream, resolution: Resolution) -> None:
        self.before, self.after, self.resolution = before, after, resolution
        self.conflicts: list[Conflict] = []
        self.version = f"driftloop {after.version}"
        self.labels = ("yours", f"driftloop {before.version}", self.version)

    def merge_file(self, path: str, ours: str | None) -> str | None:
        """Return what becomes of a file; None where it is not there, or goes."""
        base, theirs = self.before.files.get(path), self.after.files.get(path)
        if theirs in (base, ours):
            return ours
        if ours == base:
            return theirs
        if ours is None:
            return self._choose(
                path, ours, theirs, f"you removed it, and {self.version} changes it"
            )
        if theirs is None:
            return self._choose(
                path, ours, theirs, f"you changed it, and {self.version} removes it"
            )
        if (line := find_marker(ours)) is not None:
            raise RenderError(
                f"{path}:{line} is the marker of a conflict that is not solved yet",
                hint="solve it in the file and commit, then try again",
            )
        merged = merge_texts(
            ours, base or "", theirs, labels=self.labels, favour=_FAVOURS.get(self.resolution)
        )
        if self.resolution in _FAVOURS:
            # merged again without a favourite, to tell the places
            places = merge_texts(ours, base or "", theirs, labels=self.labels).conflicts
        else:
            places = merged.markers if self.resolution == "markers" else merged.conflicts
        reason = f"you and {self.version} changed the same lines"
        resolved = self.resolution != "refuse"
        self.conflicts += [Conflict(path, line, reason, resolved) for line in places]
        return ours if places and not resolved else merged.text

    def _choose(self, path: str, ours: str | None, theirs: str | None, reason: str) -> str | None:
        """Return the side of a file that one of both removed; markers can't show it."""
        resolved = self.resolution in _FAVOURS
        self.conflicts.append(Conflict(path, None, reason, resolved))
        return theirs if self.resolution == "theirs" else ours


def _read_present(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the files of a repository among `paths`; those that are not there are left out."""
    present = {}
    for path in paths:
        file = folder / path
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise RenderError(f"{file} is not a regular file")
        try:
            present[path] = file.read_bytes().decode()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except UnicodeDecodeError as error:
            raise RenderError(f"{file} is not UTF-8 text") from error
        except OSError as error:
            raise RenderError(f"{file} can't be read: {error.strerror}") from error
    return present


def _list_files(folder: Path, paths: Iterable[str]) -> str:
    return join_some([str(folder / path) for path in paths], LISTED)


def _name_registry(registry: str | None) -> str:
    return REGISTRY if registry is None else f"`{registry}`"
