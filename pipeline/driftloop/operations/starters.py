"""The model projects that `init` writes and `demo` runs: one of ours to start from, and the examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftloop.contract.trees import SPEC

STARTER = Path(__file__).resolve().parent / "starter"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
"""In a checkout; a wheel carries the examples beside the starter."""

SUFFIXES = {".yaml", ".py", ".txt", ".in", ""}


@dataclass(frozen=True)
class Starter:
    """A project to start from."""

    name: str
    what: str
    pipeline: str
    """Name of its pipeline, which its image refs and its bucket begin with."""

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        inside = STARTER / self.name
        return inside if inside.is_dir() else EXAMPLES / self.name

    def files(self) -> Iterator[Path]:
        """Its files, relative to the folder, the spec first; other specs of the same project are left out."""
        yield Path(SPEC)
        for path in sorted(self.folder.rglob("*")):
            file = path.relative_to(self.folder)
            if not path.is_file() or path.suffix not in SUFFIXES or {"__pycache__", "images"} & set(file.parts):
                continue
            if len(file.parts) > 1 or path.suffix == ".py":
                yield file


STARTERS = {
    starter.name: starter
    for starter in (
        Starter("blank", "a softmax regression in numpy, to be replaced by your model", "my-model"),
        Starter("digits", "8x8 digits, a Keras network exported to ONNX: what `driftloop demo` runs", "digits"),
        Starter("mnist", "the 70,000 images of MNIST, a Keras network exported to ONNX", "mnist"),
        Starter("tabular", "rows of a table in .csv files, a scikit-learn forest exported to ONNX", "tumours"),
    )
}
