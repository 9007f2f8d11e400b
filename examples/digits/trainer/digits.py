"""Batches of labelled digits: `x` is (n, 64) float32, pixels 0 to 16 row by row; `y` is (n,) with the labels 0 to 9."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

PIXELS = 64
CLASSES = 10
BRIGHTEST = 16.0


def read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """One batch: images (n, 64) float32 and labels (n,) int64. ValueError when it is no labelled batch of digits."""
    try:
        with np.load(file, allow_pickle=False) as batch:
            arrays = {name: batch[name] for name in batch.files}
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise ValueError(f"{file.name} is not a readable .npz file: {error}") from error
    missing = {"x", "y"} - arrays.keys()
    if missing:
        raise ValueError(
            f"{file.name}: array `{sorted(missing)[0]}` is missing, found {sorted(arrays)}"
        )
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 2 or x.shape[1] != PIXELS or y.shape != (len(x),):
        raise ValueError(
            f"{file.name}: x is {x.shape} and y is {y.shape}, must be (n, {PIXELS}) and (n,)"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{file.name}: labels are {y.dtype}, must be integers")
    return x.astype(np.float32), y.astype(np.int64)


def read_all(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All batches below a folder, in the order of their names."""
    batches = [read(file) for file in sorted(folder.rglob("*.npz"))]
    if not batches:
        raise ValueError(f"{folder} contains no .npz batch")
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])
