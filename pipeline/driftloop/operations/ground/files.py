"""Read specs and working copies of a cluster repository, and write changes into them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from driftloop.contract import trees
from driftloop.contract.layout import Layout
from driftloop.errors import RenderError, SpecError
from driftloop.platform import PlatformFile, parse_platform
from driftloop.render import FileChange
from driftloop.spec import Document, parse_spec


def read_spec_text(file: Path) -> str:
    """Return the text of a spec file; SpecError when it can't be read."""
    hint = "`driftloop init` writes one to start from"
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file} is not UTF-8 text", hint=hint) from error
    except OSError as error:
        raise SpecError(f"{file} can't be read: {error.strerror}", hint=hint) from error


def read_spec(file: Path) -> Document:
    """Read a spec file and validate it by itself."""
    return parse_spec(read_spec_text(file), path=str(file))


_FOREIGN = frozenset({".git", ".venv", "node_modules"})
"""Folders that hold many files and none of a cluster repository's."""


class FolderTree(Mapping[str, str]):
    """The files below a folder, path -> text, each read when it is asked for; those of git and of installed packages
    are left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = tuple(_list_paths(folder))

    def __getitem__(self, path: str) -> str:
        file = self._folder / path
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise RenderError(f"{file} is not UTF-8 text") from error
        except FileNotFoundError as error:
            raise KeyError(path) from error
        except OSError as error:
            raise RenderError(f"{file} can't be read: {error.strerror}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _list_paths(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _FOREIGN)
        inside = os.path.relpath(parent, folder)
        for name in sorted(names):
            yield name if inside == "." else f"{inside}/{name}"


def read_platform_file(file: Path) -> PlatformFile:
    """Read one platform file, by its path in the git repository that it is in, if it is in one."""
    here = file.resolve()
    root = next((each for each in here.parents if (each / ".git").exists()), here.parent)
    try:
        text = here.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} can't be read: {error}") from error
    return parse_platform(text, path=here.relative_to(root).as_posix(), shown=str(file))


def read_tree(folder: Path, pipeline: str, layout: Layout) -> dict[str, str]:
    """Return the files of one pipeline below a folder, path -> text, by the names that a layout has for them; files
    that are not UTF-8 are left out."""
    folders = [folder / layout.place(part) for part in trees.pipeline_folders(pipeline)]
    files = [
        file
        for place in folders
        if place.is_dir()
        for file in sorted(place.rglob("*"))
        if file.is_file()
    ]
    own = trees.cluster_paths(layout.cluster, pipeline)
    placed = (folder / layout.place(path) for path in own)
    found = _read_texts([*files, *(file for file in placed if file.is_file())], folder)
    return _name_files(found, layout)


def read_platform(folder: Path, layout: Layout) -> dict[str, str]:
    """Return the YAML files of the platform and the specs of all pipelines below a folder, path
    -> text, by the names that a layout has for them."""
    homes = dict.fromkeys((trees.CLUSTER, layout.path))
    platform = {file for home in homes for file in (folder / home).rglob("*.yaml")}
    specs = folder.glob(layout.place(trees.SPECS))
    files = sorted(file for file in {*platform, *specs} if file.is_file())
    return _name_files(_read_texts(files, folder), layout)


def _name_files(found: Mapping[str, str], layout: Layout) -> dict[str, str]:
    named = ((layout.find(path), text) for path, text in found.items())
    return {path: text for path, text in named if path is not None}


def _read_texts(files: Iterable[Path], folder: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in files:
        try:
            texts[file.relative_to(folder).as_posix()] = file.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        except OSError as error:
            raise RenderError(f"{file} can't be read: {error.strerror}") from error
    return texts


def write_changes(
    changes: Iterable[FileChange], folder: Path, layout: Layout | None = None
) -> None:
    """Write changes below a folder, where a layout places them, if there is one. Each file is replaced
    whole, so a reader never sees half of it."""
    for change in changes:
        file = folder / (change.path if layout is None else layout.place(change.path))
        try:
            if change.new is None:
                file.unlink(missing_ok=True)
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_name(f".{file.name}.new")
            beside.write_text(change.new, "utf-8")
            beside.replace(file)
        except OSError as error:
            raise RenderError(
                f"{file} can't be written: {error.strerror}",
                hint="is the folder writable, and is there space?",
            ) from error
