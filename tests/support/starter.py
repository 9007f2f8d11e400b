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


def project_of(folder: Path, spec: str, *, train: str, model: str) -> Path:
    """Write the project with a spec from `train` on, a training module and a model class of the
    test's; returns its spec."""
    file = project(folder)
    text = file.read_text()
    file.write_text(text[: text.index("  train:")] + spec)
    (file.parent / "trainer" / "train.py").write_text(train)
    (file.parent / "server" / "Model.py").write_text(model)
    return file


def batch(file: Path, *, seed: int = 0, rows: int = 600) -> Path:
    """A batch of labelled rows of three classes that are easy to tell apart."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, rows)
    np.savez(file, x=random.normal(size=(rows, WIDTH)) + 2 * y[:, None], y=y)
    return file
