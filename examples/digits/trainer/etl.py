"""The data step: look at every batch before anything is trained on it."""

from pathlib import Path

import numpy as np
from digits import BRIGHTEST, CLASSES, read


def validate(data: Path, out: Path) -> None:
    """Raise ValueError on the first batch that can't be digits; labels are checked for range, not for truth."""
    files = sorted(data.rglob("*.npz"))
    if not files:
        raise ValueError(f"{data} contains no .npz batch")
    for file in files:
        x, y = read(file)
        if len(x) == 0:
            raise ValueError(f"{file.name}: the batch is empty")
        if not np.isfinite(x).all() or x.min() < 0 or x.max() > BRIGHTEST:
            raise ValueError(f"{file.name}: pixels must be numbers from 0 to {BRIGHTEST:g}")
        if y.min() < 0 or y.max() >= CLASSES:
            raise ValueError(
                f"{file.name}: labels go from {y.min()} to {y.max()}, must be 0 to {CLASSES - 1}"
            )
