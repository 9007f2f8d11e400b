"""Three texts of one file merged line by line, as git merges them."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftloop.errors import GitError

OURS, BASE, MIDDLE, THEIRS = "<<<<<<<", "|||||||", "=======", ">>>>>>>"
"""What a line of a conflict begins with."""
_REFUSED = 255

Favour = Literal["ours", "theirs"]


@dataclass(frozen=True)
class MergedText:
    """A merged text; one with conflicts has both sides of each between markers."""

    text: str
    conflicts: tuple[int, ...] = ()
    """Lines of our text at which both sides changed something else."""
    markers: tuple[int, ...] = ()
    """Lines of the merged text at which each conflict begins."""


def merge_texts(
    ours: str,
    base: str,
    theirs: str,
    *,
    labels: tuple[str, str, str],
    favour: Favour | None = None,
) -> MergedText:
    """Merge what `ours` and `theirs` made of `base`; `favour` resolves each conflict for one side.

    `labels` name ours, base and theirs in the markers.
    """
    with tempfile.TemporaryDirectory(prefix="driftloop-merge-") as folder:
        files = [Path(folder) / name for name in ("ours", "base", "theirs")]
        for file, text in zip(files, (ours, base, theirs), strict=True):
            file.write_bytes(text.encode())
        named = [word for label in labels for word in ("-L", label)]
        how = ["--diff3"] if favour is None else [f"--{favour}"]
        done = subprocess.run(
            ["git", "merge-file", "-p", *how, *named, *files], capture_output=True, check=False
        )
    if done.returncode == _REFUSED:
        raise GitError(f"`git merge-file` failed: {done.stderr.decode(errors='replace').strip()}")
    text = done.stdout.decode()
    if done.returncode == 0:
        return MergedText(text)
    lines = text.split("\n")
    markers = tuple(n for n, line in enumerate(lines, 1) if line == f"{OURS} {labels[0]}")
    return MergedText(text, _find_lines(ours.split("\n"), lines, markers), markers)


def find_marker(text: str) -> int | None:
    """Return the line at which a text has the markers of an unsolved conflict; None without."""
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines, 1) if line.startswith(f"{OURS} ")]
    solved = not any(line.startswith(f"{THEIRS} ") for line in lines)
    return None if solved or not starts else starts[0]


def _find_lines(
    ours: Sequence[str], merged: Sequence[str], markers: Sequence[int]
) -> tuple[int, ...]:
    """Return where in our text the lines stand that each conflict has of it."""
    found, at = [], 0
    for marker in markers:
        end = next(n for n in range(marker, len(merged)) if merged[n].startswith(BASE))
        side, before = list(merged[marker:end]), merged[marker - 2] if marker > 1 else None
        places = [n for n in range(at, len(ours) + 1) if list(ours[n : n + len(side)]) == side]
        close = [n for n in places if n > 0 and ours[n - 1] == before]
        line = next(iter(close or places), at)
        found.append(line + 1)
        at = line + len(side)
    return tuple(found)
