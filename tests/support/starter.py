"""The project that `driftloop init` writes, and rows for it: the smallest real pipeline."""

import subprocess
import sys
from pathlib import Path

import numpy as np

NAME = "mine"
WIDTH = 8


def project(folder: Path) -> Path:
    """Write the project below `folder`; returns its spec."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "driftloop.cli", "init", NAME]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / NAME / "pipeline.yaml"


def batch(file: Path, *, seed: int = 0, rows: int = 600) -> Path:
    """A batch of labelled rows of three classes that are easy to tell apart."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, rows)
    np.savez(file, x=random.normal(size=(rows, WIDTH)) + 2 * y[:, None], y=y)
    return file
