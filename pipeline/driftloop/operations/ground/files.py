"""Read specs and working copies of a cluster repository, and write changes into them."""

from collections.abc import Iterable
from pathlib import Path

from driftloop.contract import trees
from driftloop.errors import RenderError, SpecError
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


def read_tree(folder: Path, pipeline: str, cluster: str) -> dict[str, str]:
    """Return the files of one pipeline below a folder, path -> text; files that are not UTF-8
    are left out."""
    folders = [folder / part for part in trees.pipeline_folders(pipeline)]
    files = [
        file
        for place in folders
        if place.is_dir()
        for file in sorted(place.rglob("*"))
        if file.is_file()
    ]
    placed = (folder / path for path in trees.cluster_paths(cluster, pipeline))
    return _read_texts([*files, *(file for file in placed if file.is_file())], folder)


def read_platform(folder: Path) -> dict[str, str]:
    """Return the YAML files of the platform and the specs of all pipelines below a folder, path
    -> text."""
    platform = [file for file in (folder / trees.CLUSTER).rglob("*.yaml") if file.is_file()]
    return _read_texts(sorted([*platform, *folder.glob(trees.SPECS)]), folder)


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


def write_changes(changes: Iterable[FileChange], folder: Path) -> None:
    """Write changes below a folder. Each file is replaced whole, so a reader never sees half of
    it."""
    for change in changes:
        file = folder / change.path
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
