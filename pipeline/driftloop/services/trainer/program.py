"""The user's program in place of a function: told what it needs by variables and words, watched, and asked for metrics.json."""

import codecs
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

from driftloop.contract.documents import is_number, show_value
from driftloop.contract.programs import fill_names, place_variable, type_words
from driftloop.contract.trees import METRICS_FILE
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.function import LONGEST, TIMEOUT

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
LAST_LINES = 3
"""Last lines that an error tells."""
MOST_BYTES = 1024 * 1024
"""Bytes of a metrics.json at most."""
HINT = (
    'write a JSON object of numbers, like {"accuracy": 0.93}, to the file that '
    f"{place_variable('metrics')} names"
)


@dataclass(frozen=True)
class UserProgram:
    """A command of the user's image, and the folder it is started in."""

    words: tuple[str, ...]
    root: Path

    @property
    def name(self) -> str:
        """The command as one types it."""
        return type_words(self.words)


def run_program(
    program: UserProgram,
    places: Mapping[str, str],
    variables: Mapping[str, str],
    seconds: float | None,
) -> None:
    """Run it to its end, its output passed on; TrainerError with exit code and last lines when it fails.

    `places` are what names in its words stand for; what it leaves running is ended with it.
    """
    words = [fill_names(word, places) for word in program.words]
    tail = _LastLines()
    with _Ending() as ending:
        try:
            process = subprocess.Popen(
                words,
                cwd=program.root,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:
            raise _build_start_error(program, error) from error
        ending.watch(process)
        readers = [
            threading.Thread(target=_pass_on, args=(stream, out, tail), daemon=True)
            for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        ]
        for reader in readers:
            reader.start()
        code: int | None = None
        try:
            code = process.wait(seconds or None)
        except subprocess.TimeoutExpired:
            _end_group(process)
    _signal_group(process, signal.SIGKILL)
    for reader in readers:
        # one that has left the group may hold the output for ever
        reader.join(GRACE)
    if code is None:
        raise TrainerError(
            f"`{program.name}` was stopped after {seconds:g} s{tail.text}",
            hint="raise the step's timeout in the spec, or make the program faster",
            code=TIMEOUT,
        )
    if code != 0:
        raise TrainerError(
            f"`{program.name}` {_describe_end(code)}{tail.text}", hint=_explain_end(code)
        )


def read_metrics_file(file: Path, program: UserProgram) -> dict[str, float]:
    """Return the metrics that a program wrote; TrainerError names file, key, value and what is allowed."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise TrainerError(
            f"`{program.name}` wrote no {METRICS_FILE}: {file} does not exist", hint=HINT
        ) from error
    except OSError as error:
        raise TrainerError(f"{file} can't be read: {error.strerror}", hint=HINT) from error
    if len(content) > MOST_BYTES:
        raise TrainerError(
            f"{file} has more than {MOST_BYTES} bytes, must hold numbers only", hint=HINT
        )
    try:
        document = json.loads(content.decode(), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"{file} is not JSON: {error}", hint=HINT) from error
    if not isinstance(document, _Pairs):
        raise TrainerError(
            f"{file} is {_show(document)}, must be a JSON object of numbers", hint=HINT
        )
    if not document:
        raise TrainerError(f"{file} is `{{}}`, must hold at least one metric", hint=HINT)
    metrics: dict[str, float] = {}
    for key, value in document:
        if key in metrics:
            raise TrainerError(f"{file} has the metric `{key}` twice, must have it once")
        if not is_number(value):
            raise TrainerError(
                f"metric `{key}` in {file} is {_show(value)}, must be a finite number", hint=HINT
            )
        metrics[key] = value
    return metrics


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, with a key that it has twice."""


def _show(value: object) -> str:
    return show_value(dict(value) if isinstance(value, _Pairs) else value)


@dataclass
class _LastLines:
    """The last lines of a program's output, of both streams."""

    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, line: str) -> None:
        """Take a line that is complete."""
        if text := " ".join(line.split()):
            with self._lock:
                self._lines.append(text)

    @property
    def text(self) -> str:
        """The lines as the end of a sentence; of long ones, the end."""
        with self._lock:
            told = " / ".join(self._lines)
        if not told:
            return ", without a word"
        told = told if len(told) <= LONGEST else f"… {told[-LONGEST:]}"
        return f"; its last lines: {told}"


def _pass_on(stream: IO[bytes], out: TextIO, tail: _LastLines) -> None:
    """Write what comes, as it comes, and keep the lines."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while chunk := os.read(stream.fileno(), 65_536):
        text = decoder.decode(chunk)
        out.write(text)
        out.flush()
        *lines, rest = (rest + text).replace("\r", "\n").split("\n")
        rest = rest[-LONGEST:]
        for line in lines:
            tail.keep(line)
    tail.keep(rest)


class _Ending:
    """Ends the program, too, when this one is told to end while it runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0
        self._before: dict[int, Any] = {}

    def watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Name the program; it is ended at once when that was told while it started."""
        self._process = process
        if self._told:
            self._end(self._told, None)

    def __enter__(self) -> "_Ending":
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGTERM, signal.SIGINT)
            self._before = {number: signal.signal(number, self._end) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, frame: object) -> None:
        self._told = number
        if self._process is not None:
            _end_group(self._process)
            os._exit(128 + number)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    # not Popen.wait: a handler of signals may come while it holds its lock
    while time.monotonic() < deadline and _is_running(process.pid):
        time.sleep(0.05)
    _signal_group(process, signal.SIGKILL)


def _is_running(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _build_start_error(program: UserProgram, error: OSError) -> TrainerError:
    first = program.words[0]
    if isinstance(error, FileNotFoundError) and not program.root.is_dir():
        return TrainerError(f"`{program.name}` can't be started: {program.root} is not a folder")
    if isinstance(error, FileNotFoundError):
        return TrainerError(
            f"`{program.name}` can't be started: the image has no program `{first}`",
            hint=f"it is looked for in {os.environ.get('PATH', '')}, and a path from {program.root.resolve()} on; on one "
            "machine it is a program of this machine",
        )
    hint = None
    if isinstance(error, PermissionError):
        hint = f"make it executable (`chmod +x {first}`), or name its interpreter first"
    elif error.errno == 8:
        hint = "its first line must name an interpreter, like `#!/bin/sh`; or name the interpreter first"
    return TrainerError(f"`{program.name}` can't be started: {error.strerror}", hint=hint)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _explain_end(code: int) -> str | None:
    if code == -signal.SIGKILL:
        return "a process is killed so that needs more memory than the container has: raise the step's `resources.memory`"
    return None
