"""A folder of user code, and the wrapper run on it as a workflow step runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from driftloop.services.trainer import __main__ as program

Make = Callable[..., Path]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("code", "data", "model", "production"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Callable[..., Result]:
    """`driftloop-train …` in the code folder, with nothing but the standard library's environment."""

    def run(*arguments: object, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, program.__file__, *map(str, arguments)],
            cwd=folder / "code",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(program.__file__).parents[3]),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def batches(folder: Path) -> Path:
    """Two .npz files of 500 rows, a tenth of them the same rows in both."""
    random = np.random.default_rng(0)
    shared = random.normal(size=(50, 4)).astype(np.float32)
    for part, kind in (("earlier", np.float32), ("recent", np.float64)):
        (folder / "data" / part).mkdir()
        x = np.concatenate([random.normal(size=(450, 4)).astype(np.float32), shared]).astype(kind)
        np.savez(folder / "data" / part / f"{part}.npz", x=x, y=np.arange(500) % 3 * 0)
    return folder / "data"
