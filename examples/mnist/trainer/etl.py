"""The data step: look at every batch before anything is trained on it."""

from pathlib import Path

from mnist import BRIGHTEST, CLASSES, read


def validate(data: Path, out: Path) -> None:
    """Raise ValueError on the first batch that can't be MNIST; nothing is rewritten, so `out` stays empty."""
    files = sorted(data.rglob("*.npz"))
    if not files:
        raise ValueError(f"{data} contains no .npz batch")
    for file in files:
        x, y = read(file)
        if len(x) == 0:
            raise ValueError(f"{file.name}: the batch is empty")
        if x.min() < 0 or x.max() > BRIGHTEST:
            raise ValueError(f"{file.name}: pixels must be from 0 to {BRIGHTEST:g}")
        if y.min() < 0 or y.max() >= CLASSES:
            raise ValueError(
                f"{file.name}: labels go from {y.min()} to {y.max()}, must be 0 to {CLASSES - 1}"
            )
