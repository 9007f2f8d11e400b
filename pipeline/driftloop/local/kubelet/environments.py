"""Python environments, built by uv from requirements files and shared by everything with the same
requirements.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.binaries import find_uv
from driftloop.local.ground.state import build_write_error, replace_file

_DONE = "driftloop-complete"
_PACKAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROGRESS = 10.0


@dataclass(frozen=True)
class RequirementLine:
    """One requirement of a requirements.txt."""

    file: Path
    line: int
    """Number of its first line."""
    text: str

    @property
    def hashed(self) -> bool:
        """True when only files with certain hashes are installed for it."""
        return " --hash=" in self.text

    @property
    def name(self) -> str:
        """The requirement without its hashes."""
        return self.text.partition(" --hash=")[0].strip()


def build_environment(
    envs: Path,
    requirements: Sequence[Path],
    *,
    python: str,
    name: str,
    say: Callable[[str], None] = print,
) -> Path:
    """The environment that holds `requirements`, below `envs`; built unless it is there.

    Each file is installed over those before it, as the layers of an image are. One with hashes is
    all that it needs, and installed as it is; one without brings along what its packages demand.

    `name` is what the progress lines call it. LocalError says which line can't be installed, with
    uv's last words.
    """
    layers = [layer for file in requirements if (layer := read_requirements(file))]
    texts = ["\n".join(line.text for line in layer) for layer in layers]
    key = hashlib.sha256("\n\n".join([python, platform.machine(), *texts]).encode()).hexdigest()[
        :16
    ]
    env = envs / key
    if (env / _DONE).exists():
        return env
    try:
        envs.mkdir(parents=True, exist_ok=True)
        with _hold_lock(
            envs / f"{key}.lock",
            lambda: say(f"{name}: another process builds its environment; waiting"),
        ):
            if (env / _DONE).exists():
                return env
            started, count = time.monotonic(), sum(map(len, layers))
            # A venv can't be moved (its scripts name their interpreter), so a marker makes it complete, not a rename.
            shutil.rmtree(env, ignore_errors=True)
            say(
                f"{name}: building its environment from {', '.join(map(str, requirements))} ({count} lines)"
            )
            command = (find_uv(), "venv", "--quiet", "--no-config", "--python", python)
            _run_uv([*command, str(env)], env, name, (), say)
            for layer in layers:
                _install_layer(env, layer, name, say)
            replace_file(env / _DONE, f"{name}\n")
            say(f"{name}: environment ready after {time.monotonic() - started:.0f} s")
    except OSError as error:
        raise build_write_error(env, error) from error
    return env


def _install_layer(
    env: Path, layer: Sequence[RequirementLine], name: str, say: Callable[[str], None]
) -> None:
    file = env.with_name(f"{env.name}.txt")
    replace_file(file, "\n".join(line.text for line in layer) + "\n")
    # what such a file pins may contradict what packages say of each other: `scripts/lock` has overrides
    whole = ("--require-hashes", "--no-deps") if layer[0].hashed else ()
    python = str(env / "bin" / "python")
    command = (find_uv(), "pip", "install", "--no-config", "--python", python)
    _run_uv([*command, *whole, "-r", str(file)], env, name, layer, say)


def read_requirements(file: Path) -> list[RequirementLine]:
    """The requirements of a file.

    LocalError on what can't be part of an image (other files, local installs).
    """
    try:
        text = file.read_text()
    except FileNotFoundError:
        raise LocalError(
            f"{file} does not exist", hint="every image folder needs a requirements.txt"
        ) from None
    entries = []
    for number, line in list_lines(text):
        if line.startswith(
            ("-r", "-c", "-e", "--requirement", "--constraint", "--editable", ".", "/", "file:")
        ):
            raise LocalError(
                f"{file}:{number}: `{line}` can't be part of an image here",
                hint="name the packages and versions themselves; `uv pip compile` writes them out",
            )
        entries.append(RequirementLine(file, number, line))
    bare = next((entry for entry in entries if not entry.hashed), None)
    if bare is not None and any(entry.hashed for entry in entries):
        raise LocalError(
            f"{file}:{bare.line}: `{bare.name}` has no `--hash`, and others have one: pip refuses such a file",
            hint="write it into requirements.in; the command that makes requirements.txt of it is in its first lines",
        )
    return entries


def list_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line of a file of requirements with its number: without comments and empty ones, continued lines as
    one."""
    for number, raw in _join_lines(text):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if line:
            yield number, line


def normalize_name(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _join_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line that continued lines make together, with the number of the first."""
    first, parts = 1, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if parts else number
        parts.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield first, "".join(parts)
            parts = []
    if parts:
        yield first, "".join(parts)


def _run_uv(
    command: list[str],
    env: Path,
    name: str,
    entries: Sequence[RequirementLine],
    say: Callable[[str], None],
) -> None:
    """Run uv with a line of progress now and then; its output stays beside the environment."""
    log = env.parent / f"{env.name}.log"
    started = time.monotonic()
    files.clear_place(log)
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    code = process.wait(_PROGRESS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{name}: still installing, {time.monotonic() - started:.0f} s")
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code != 0:
        words = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][
            -12:
        ]
        output = "\n".join(words)
        if "No space left" in output:
            raise LocalError(
                f"{name}: no space left for its environment in {env.parent}", hint="free some space"
            )
        raise LocalError(
            f"{name}: its environment can't be built{_find_blamed_line(output, entries)}; uv says:\n{output}",
            hint="correct that requirement; the whole output is in " + str(log),
        )


def _find_blamed_line(output: str, entries: Sequence[RequirementLine]) -> str:
    """The requirement that uv's words name first."""
    by_name = {
        normalize_name(match[0]): requirement
        for requirement in entries
        if (match := _PACKAGE.match(requirement.text))
    }
    for word in _WORD.findall(output):
        if requirement := by_name.get(normalize_name(word.rstrip("."))):
            return f": {requirement.file}:{requirement.line}: `{requirement.name}`"
    return ""


@contextmanager
def _hold_lock(file: Path, waiting: Callable[[], None]) -> Iterator[None]:
    with os.fdopen(files.open_file(file, os.O_RDWR | os.O_CREAT)) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
