"""Files that a training call writes: metadata.yaml, and the metrics as files for the workflow."""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from driftloop.services.trainer.errors import TrainerError

MOST_LINES = 10_000
"""Log lines that are kept; later ones are only counted."""

LONGEST_LINE = 64 * 1024


class OutputTee:
    """Standard output that also keeps the lines that are JSON objects."""

    def __init__(self, out: TextIO, note: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._note = note
        self.lines: list[dict[str, Any]] = []
        self.dropped = 0
        self._out = out
        self._rest = ""

    def write(self, text: str) -> int:
        """Pass text on, and look at each line that is now complete."""
        count = self._out.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        self._rest = self._rest[: LONGEST_LINE + 1]
        for line in lines:
            self._keep_line(line.strip())
        return count

    def flush(self) -> None:
        """Pass on what is buffered."""
        self._out.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def _keep_line(self, line: str) -> None:
        if not line.startswith("{"):
            return
        if len(line) > LONGEST_LINE:
            self.dropped += 1
            return
        try:
            content = json.loads(line)
        except ValueError:
            return
        if not isinstance(content, dict):
            return
        if self._note is not None:
            self._note(content)
        if len(self.lines) < MOST_LINES:
            self.lines.append(content)
        else:
            self.dropped += 1


@contextlib.contextmanager
def log_output(note: Callable[[dict[str, Any]], None] | None = None) -> Iterator[OutputTee]:
    """Keep the JSON lines printed inside the block; `note` hears of each."""
    tee = OutputTee(sys.stdout, note)
    with contextlib.redirect_stdout(tee):
        yield tee
    tee.flush()


def read_metrics(returned: Any, name: str) -> dict[str, float]:
    """The returned metrics as plain numbers; TrainerError when there are none, or one is no
    finite number."""
    hint = "return a dict of numbers, like {'validation_accuracy': 0.93}"
    if returned is None:
        raise TrainerError(f"`{name}` returned no metric", hint=hint)
    if not isinstance(returned, Mapping):
        raise TrainerError(
            f"`{name}` returned {type(returned).__name__}, must be a dict of metrics", hint=hint
        )
    if not returned:
        raise TrainerError(f"`{name}` returned no metric", hint=hint)
    numbers: dict[str, float] = {}
    for key, value in returned.items():
        number = (
            value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
        )
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TrainerError(
                f"metric `{key}` of `{name}` is {number!r}, must be a number", hint=hint
            )
        if not math.isfinite(number):
            raise TrainerError(
                f"metric `{key}` of `{name}` is {number}",
                hint="did the training diverge? try a smaller learning rate, and look for empty batches",
            )
        numbers[str(key)] = number
    return numbers


def list_files(folder: Path) -> list[str]:
    """Relative names of all files below a folder, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def digest_file(folder: Path, *patterns: str) -> str:
    """`sha256:<hex>` over names and contents, the same that the object store's client computes."""
    whole = hashlib.sha256()
    found = {file for pattern in patterns or ("*",) for file in folder.rglob(pattern)}
    for name in sorted(p.relative_to(folder).as_posix() for p in found if p.is_file()):
        if "__pycache__" in name:
            continue
        with (folder / name).open("rb") as stream:
            whole.update(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {name}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def describe_code(root: Path, words: Sequence[str] = ()) -> dict[str, str]:
    """The user's code: a digest of its Python files, of a command also of those that end like the files that
    it names, and the git revision where there is one."""
    suffixes = {Path(word).suffix for word in words if (root / word).is_file()} - {"", ".py"}
    code = {"digest": digest_file(root, "*.py", *(f"*{suffix}" for suffix in sorted(suffixes)))}
    head = root / ".git" / "HEAD"
    with contextlib.suppress(OSError):
        text = head.read_text().strip()
        if text.startswith("ref: "):
            text = (root / ".git" / text.removeprefix("ref: ")).read_text().strip()
        code["revision"] = text
    return code


def list_libraries() -> dict[str, str]:
    """Versions of the distributions that are imported now."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    owners = importlib.metadata.packages_distributions()
    names = sorted({owner for module in loaded for owner in owners.get(module, ())})
    return {name: importlib.metadata.version(name) for name in names}


def list_installed() -> dict[str, str]:
    """Versions of all distributions of this Python: what a program loads is its own affair."""
    found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
    return dict(sorted((name, version) for name, version in found.items() if name))


def describe_hardware() -> dict[str, Any]:
    """The machine: processor, usable cores, memory, graphics cards."""
    hardware: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
    }
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        hardware["processor"] = (
            next(li for li in lines if li.startswith("model name")).partition(":")[2].strip()
        )
    with contextlib.suppress(OSError, ValueError):
        hardware["memory"] = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    cards = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError, StopIteration):
            model = next(line for line in file.read_text().splitlines() if line.startswith("Model"))
            cards.append(model.partition(":")[2].strip())
    hardware["gpus"] = cards
    return hardware


def write_metadata(file: Path, content: Mapping[str, Any]) -> None:
    """metadata.yaml; values YAML has no plain form for become their text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(content, default=str))
    file.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def write_parameters(folder: Path, values: Mapping[str, str]) -> None:
    """Files that the workflow reads as output parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(value)
