"""The process that a user's functions run in: a child, so that a hang, a crash or too much memory ends it
and not the program that answers the detector."""

import json
import os
import signal
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.functions import LOADING, FunctionSettings, unpack_rows
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.judging import JudgingFunctions

MOST_FITS = 2
"""References that are kept, the newest."""
LOOK = 0.05
"""Seconds between two looks at the child's memory."""
MEMORY_SHARE = 0.85
"""Part of the container's memory at which the child is ended, before the kernel ends all of it."""
MIB = 1024 * 1024
FIT, JUDGE, DONE, FAILED = b"F", b"J", b"D", b"E"

Fits = OrderedDict[str, Any]


@dataclass
class FunctionWorker:
    """A child that is started when it is needed."""

    settings: FunctionSettings
    code: Path
    memory: int | None = None
    """Bytes of the container; None: not watched."""
    _child: int = 0
    _connection: "Connection[bytes, bytes] | None" = None
    _fits: "OrderedDict[str, None]" = field(default_factory=OrderedDict)

    def knows(self, fit: str) -> bool:
        """Return True for the id of a reference that the running child has."""
        return fit in self._fits

    def learn_rows(self, fit: str, body: bytes) -> None:
        """Give the child a reference; TrainerError when `fit` fails."""
        self._call(FIT, fit, body)
        self._fits[fit] = None
        self._fits.move_to_end(fit)
        while len(self._fits) > MOST_FITS:
            self._fits.popitem(last=False)

    def judge_window(self, fit: str, body: bytes) -> bytes:
        """Return the verdict on a window as JSON; TrainerError when `run` fails."""
        return self._call(JUDGE, fit, body)

    def stop(self) -> None:
        """End the child."""
        if self._child:
            for end in (lambda: os.killpg(self._child, signal.SIGKILL), self._reap):
                try:
                    end()
                except (ProcessLookupError, ChildProcessError):
                    continue
        if self._connection is not None:
            self._connection.close()
        self._child, self._connection = 0, None
        self._fits.clear()

    def _reap(self) -> int:
        return os.waitpid(self._child, 0)[1]

    def _call(self, kind: bytes, fit: str, body: bytes) -> bytes:
        connection = self._connection or self._start()
        try:
            connection.send_bytes(kind + fit.encode() + b"\n")
            connection.send_bytes(body)
        except OSError as error:
            raise self._describe_end() from error
        return self._receive(connection, self.settings.timeout, f"`{self._name(kind)}`")

    def _name(self, kind: bytes) -> str:
        return self.settings.fit or self.settings.run if kind == FIT else self.settings.run

    def _start(self) -> "Connection[bytes, bytes]":
        ours, theirs = Pipe()
        child = os.fork()
        if not child:
            _run_child(theirs, self.settings, self.code)
        theirs.close()
        self._child, self._connection = child, ours
        try:
            self._receive(ours, LOADING, "importing the code")
        except TrainerError:
            self.stop()
            raise
        return ours

    def _receive(self, connection: "Connection[bytes, bytes]", seconds: float, doing: str) -> bytes:
        """Wait for an answer of the child, which is ended when it takes too long or too much memory."""
        end = time.monotonic() + seconds
        while not connection.poll(min(LOOK, seconds)):
            used = _measure_memory(self._child)
            if self.memory is not None and used > MEMORY_SHARE * self.memory:
                self.stop()
                raise TrainerError(
                    f"{doing} took {used // MIB} MiB, of the container's {self.memory // MIB}",
                    hint="raise the monitor's `resources.memory`, or make the function smaller",
                )
            if time.monotonic() > end:
                self.stop()
                raise TrainerError(
                    f"{doing} was stopped after {seconds:g} s",
                    hint="raise the monitor's `timeout`, or make the function faster",
                )
        try:
            answer = connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._describe_end() from error
        if answer[:1] == FAILED:
            message, _, hint = answer[1:].decode(errors="replace").partition("\0")
            raise TrainerError(message, hint=hint or None)
        return answer[1:]

    def _describe_end(self) -> TrainerError:
        try:
            code = os.waitstatus_to_exitcode(self._reap())
        except ChildProcessError:
            code = 0
        self._child = 0
        self.stop()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return TrainerError(f"the process of `{self.settings.run}` ended with {how}")


def _measure_memory(process: int) -> int:
    """Return the bytes in memory of a process; 0 when it is gone."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _run_child(
    connection: "Connection[bytes, bytes]", settings: FunctionSettings, code: Path
) -> None:
    """Be the child: answer calls until the parent is gone."""
    try:
        os.setpgid(0, 0)
        # among them the socket that the program listens on
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, 1024)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _answer_calls(connection, settings, code)
    except EOFError:
        os._exit(0)
    except BaseException as error:
        connection.send_bytes(_write_failure(TrainerError(f"{type(error).__name__}: {error}")))
    finally:
        os._exit(1)


def _answer_calls(
    connection: "Connection[bytes, bytes]", settings: FunctionSettings, code: Path
) -> None:
    try:
        functions = JudgingFunctions.load(settings, code)
    except TrainerError as error:
        connection.send_bytes(_write_failure(error))
        return
    connection.send_bytes(DONE)
    fits: Fits = OrderedDict()
    while True:
        head, body = connection.recv_bytes(), connection.recv_bytes()
        kind, fit = head[:1], head[1:-1].decode()
        try:
            connection.send_bytes(DONE + _answer_call(functions, fits, kind, fit, body))
        except TrainerError as error:
            connection.send_bytes(_write_failure(error))


def _answer_call(
    functions: JudgingFunctions, fits: Fits, kind: bytes, fit: str, body: bytes
) -> bytes:
    try:
        packed = unpack_rows(body)
    except DocumentError as error:
        raise TrainerError(error.message) from error
    if kind == JUDGE:
        return json.dumps(to_json(functions.judge_window(fits[fit], packed))).encode()
    fits[fit] = functions.learn_rows(packed)
    fits.move_to_end(fit)
    while len(fits) > MOST_FITS:
        fits.popitem(last=False)
    return b""


def _write_failure(error: TrainerError) -> bytes:
    """Return a failure as a message; the lines of the user's code go to the log."""
    if error.trace:
        os.write(2, error.trace.encode(errors="replace"))
    return FAILED + f"{error.message}\0{error.hint or ''}".encode(errors="replace")
