"""The guide's own commands: every `sh` block of docs/guides/cluster.md up to the first prediction, run in order."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "cluster.md"
_STEP = re.compile(r"(?m)^(\d+)\. \*\*(.+?)\*\*")
_BLOCK = re.compile(r"(?ms)^ *```sh\n(.*?)^ *```$")
STEPS = range(2, 9)
"""The numbered steps from an empty repository to the first prediction."""


@dataclass(frozen=True)
class Block:
    """One block of commands, and the step it is in."""

    step: int
    title: str
    commands: str


def read_blocks(text):
    """The blocks of STEPS; one with `…` in it names what only a person knows."""
    starts = [*_STEP.finditer(text)]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        number = int(start[1])
        part = text[start.start() : end.start() if end else len(text)]
        if number in STEPS:
            for block in _BLOCK.finditer(part):
                lines = block[1].splitlines()
                indent = min(len(line) - len(line.lstrip()) for line in lines if line)
                commands = "\n".join(line[indent:] for line in lines)
                if "…" not in commands:
                    yield Block(number, start[2].rstrip("."), commands)


class Terminal:
    """A person's shell: what a block exports, and where it goes, the next one finds."""

    def __init__(self, folder, environment):
        self._folder, self._environment = folder, {**os.environ, **environment}
        self._variables = folder / "variables.sh"
        self._variables.write_text("")
        self._place = folder / "place"

    def run(self, commands, *, cwd=None, timeout=1800):
        """AssertionError with the output of a block that fails."""
        start = cwd or Path(self._place.read_text().strip())
        script = (
            f". {self._variables}\n{commands}\ndeclare -px >{self._variables}\npwd >{self._place}\n"
        )
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=start,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert result.returncode == 0, f"{commands}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
        return result.stdout
