"""Python environments, built by uv from requirements files and shared by everything with the same
requirements.
"""

import fcntl
import hashlib
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from driftloop.errors import LocalError
from driftloop.local.ground.state import build_write_error, replace_file

_DONE = "driftloop-complete"
_PACKAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROGRESS = 10.0


@dataclass(frozen=True)
class RequirementLine:
    """One line of a requirements.txt."""

    file: Path
    line: int
    text: str


def build_environment(
    envs: Path,
    requirements: Sequence[Path],
    *,
    python: str,
    name: str,
    say: Callable[[str], None] = print,
) -> Path:
    """The environment that holds `requirements` (all files together), below `envs`; built unless it
    is there.

    `name` is what the progress lines call it. LocalError says which line can't be installed, with
    uv's last words.
    """
    requirement_lines = [
        requirement for file in requirements for requirement in read_requirements(file)
    ]
    lines = list(dict.fromkeys(requirement.text for requirement in requirement_lines))
    key = hashlib.sha256("\n".join([python, platform.machine(), *lines]).encode()).hexdigest()[:16]
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
            started = time.monotonic()
            # A venv can't be moved (its scripts name their interpreter), so a marker makes it complete, not a rename.
            shutil.rmtree(env, ignore_errors=True)
            say(
                f"{name}: building its environment from {', '.join(map(str, requirements))} ({len(lines)} lines)"
            )
            file = envs / f"{key}.txt"
            replace_file(file, "\n".join(lines) + "\n")
            uv = find_uv_bin()
            _run_uv(
                [uv, "venv", "--quiet", "--no-config", "--python", python, str(env)],
                env,
                name,
                requirement_lines,
                say,
            )
            install = [
                uv,
                "pip",
                "install",
                "--no-config",
                "--python",
                str(env / "bin" / "python"),
                "-r",
                str(file),
            ]
            if lines:
                _run_uv(install, env, name, requirement_lines, say)
            replace_file(env / _DONE, f"{name}\n")
            say(f"{name}: environment ready after {time.monotonic() - started:.0f} s")
    except OSError as error:
        raise build_write_error(env, error) from error
    return env


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
    for number, raw in enumerate(text.replace("\\\n", "").splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if not line:
            continue
        if line.startswith(
            ("-r", "-c", "-e", "--requirement", "--constraint", "--editable", ".", "/", "file:")
        ):
            raise LocalError(
                f"{file}:{number}: `{line}` can't be part of an image here",
                hint="name the packages and versions themselves; `uv pip compile` writes them out",
            )
        entries.append(RequirementLine(file, number, line))
    return entries


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
        words = [line for line in log.read_text().splitlines() if line.strip()][-12:]
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
        match[0].lower().replace("_", "-"): requirement
        for requirement in entries
        if (match := _PACKAGE.match(requirement.text))
    }
    for word in _WORD.findall(output):
        if requirement := by_name.get(word.lower().rstrip(".").replace("_", "-")):
            return f": {requirement.file}:{requirement.line}: `{requirement.text}`"
    return ""


@contextmanager
def _hold_lock(file: Path, waiting: Callable[[], None]) -> Iterator[None]:
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
