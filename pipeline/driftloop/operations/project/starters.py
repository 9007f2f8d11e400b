"""Model projects that `init` writes and `demo` runs: a blank one, and the examples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftloop import __version__
from driftloop.contract.trees import SPEC
from driftloop.errors import SpecError
from driftloop.operations.project.companions import SCHEMA_LINE, make_companions

STARTER = Path(__file__).resolve().parent / "starter"
EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
"""In a checkout; a wheel carries the examples beside the starter."""

SUFFIXES = {".yaml", ".py", ".txt", ".in", ""}
SHORTEST_BUCKET = 3
"""Characters of a bucket's name at least."""
NAME = r"[a-z]([-a-z0-9]{0,32}[a-z0-9])?"


@dataclass(frozen=True)
class StarterProject:
    """A project to start from."""

    name: str
    description: str
    pipeline: str
    """Name of its pipeline, with which its image references and its bucket begin."""
    data: str = (
        "`uv run batches.py --help` lists what it writes to the bucket that `data.uri` names."
    )
    """What its README says of data."""

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        inside = STARTER / self.name
        return inside if inside.is_dir() else EXAMPLES / self.name

    def list_files(self) -> Iterator[Path]:
        """Yield its files, relative to the folder, the spec first; other specs of the project
        are left out."""
        yield Path(SPEC)
        for path in sorted(self.folder.rglob("*")):
            file = path.relative_to(self.folder)
            if (
                not path.is_file()
                or path.suffix not in SUFFIXES
                or {"__pycache__", "images"} & set(file.parts)
            ):
                continue
            if len(file.parts) > 1 or path.suffix == ".py":
                yield file


STARTERS = {
    starter.name: starter
    for starter in (
        StarterProject(
            "blank",
            "a softmax regression in numpy, to be replaced by your model",
            "my-model",
            "put `.npz` files with `x` (rows, features) and `y` (class of each row) where `data.uri` says; "
            "`driftloop data put --help`.",
        ),
        StarterProject(
            "digits",
            "8x8 digits, a Keras network exported to ONNX: what `driftloop demo` runs",
            "digits",
        ),
        StarterProject(
            "mnist", "the 70,000 images of MNIST, a Keras network exported to ONNX", "mnist"
        ),
        StarterProject(
            "tabular",
            "rows of numbers in .csv files, a scikit-learn forest exported to ONNX",
            "tumours",
        ),
        StarterProject(
            "flights",
            "rows of numbers and text with gaps, a scikit-learn pipeline as a pickle",
            "flights",
        ),
    )
}


def choose_name(starter: StarterProject, folder: Path, name: str | None) -> str:
    """Return the name of a new pipeline: `name`, or that of the folder for `blank`, or that of
    the starter.

    SpecError when it is not a valid name.
    """
    chosen = name or (
        _slugify_name(folder.resolve().name) if starter.name == "blank" else starter.pipeline
    )
    if not re.fullmatch(NAME, chosen):
        raise SpecError(
            f"--name is `{chosen}`, must be at most 34 lower-case letters, digits and hyphens, beginning with a letter"
        )
    return chosen


@dataclass(frozen=True)
class WrittenProject:
    """What `init` did."""

    files: tuple[Path, ...]
    kept: tuple[Path, ...]
    """README.md and .gitignore that were there before."""


def write_project(starter: StarterProject, folder: Path, name: str) -> WrittenProject:
    """Write a project for pipeline `name` into a folder.

    SpecError when a file of its spec or code exists already; a README.md or .gitignore that is there is left.
    """
    files = tuple(starter.list_files())
    existing = next((file for file in files if (folder / file).exists()), None)
    if existing is not None:
        raise SpecError(
            f"{folder / existing} exists already and is not overwritten",
            hint="name an empty folder: `driftloop init my-model`",
        )
    texts = {file: _fill_in(starter, file, name) for file in files}
    companions = make_companions(name, starter.description, starter.data)
    kept = tuple(folder / file for file in companions if (folder / file).exists())
    beside = {Path(file): text for file, text in companions.items() if folder / file not in kept}
    for file, text in {**texts, **beside}.items():
        target = folder / file
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        except OSError as error:
            raise SpecError(f"{target} can't be written: {error.strerror}") from error
    return WrittenProject(tuple(folder / file for file in (*files, *beside)), kept)


def _fill_in(starter: StarterProject, file: Path, name: str) -> str:
    """Return a file's text, for a pipeline of this name and this version of the base image."""
    text = (starter.folder / file).read_text("utf-8")
    if file == Path(SPEC):
        old = re.escape(starter.pipeline)
        bucket = name if len(name) >= SHORTEST_BUCKET else f"{name}-data"
        text = re.sub(rf"(?<=s3://){old}\b", bucket, text)
        text = re.sub(rf"(?<=name: ){old}\b|(?<=/){old}(?=-(trainer|server):)", name, text)
        return SCHEMA_LINE + text
    return re.sub(
        r"(?<=^FROM ghcr\.io/driftloop/trainer:)\S+", __version__, text, flags=re.MULTILINE
    )


def _slugify_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:34].strip("-") or "my-model"
