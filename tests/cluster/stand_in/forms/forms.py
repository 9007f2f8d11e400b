"""Functions of a user's: one that is killed and goes on, ones that fail, nap, ask for labels, look at their GPU."""

import os
import signal
import time
from pathlib import Path


def train(data: Path, out: Path, checkpoint: Path, dies: bool = True) -> dict:
    """Three epochs; the first try raises after one, the second is killed after two."""
    kept = checkpoint / "epoch"
    first = int(kept.read_text()) + 1 if kept.exists() else 0
    for epoch in range(first, 3):
        kept.write_text(str(epoch))
        if dies and epoch == 0:
            raise RuntimeError("the first try ends here")
        if dies and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    (out / "model").write_text(str(time.time_ns()))
    return {"first": first}


def fail(data: Path, out: Path) -> None:
    """Never works."""
    raise ValueError("these batches are no good")


def nap(data: Path, out: Path) -> None:
    """Five seconds."""
    time.sleep(5)


def memory(data: Path, out: Path) -> None:
    """How large /dev/shm is, in bytes."""
    found = os.statvfs("/dev/shm")
    print(f"shared memory: {found.f_frsize * found.f_blocks}")


def ask(data: Path, out: Path) -> None:
    """Writes what people are to label."""
    for file in data.iterdir():
        (out / f"unlabelled-{file.name}").write_text(file.read_text())


def check(data: Path, out: Path) -> None:
    """Reads the labels that people have put beside it."""
    (out / "labelled.csv").write_text((data / "labels.csv").read_text())
