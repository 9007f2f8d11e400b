"""Commands run in this process, with a bound on their time; what must never come out of one."""

import signal
from dataclasses import dataclass
from types import FrameType

from click.testing import CliRunner

from driftloop.cli.root import root
from driftloop.errors import PipelineError

LONGEST = 30
"""Seconds until a command counts as hanging."""


class HangError(Exception):
    """A command did not end."""


@dataclass(frozen=True)
class Finished:
    """How a command ended; `fault` says what it must not have done."""

    code: int
    output: str
    fault: str | None


def run_command(*arguments: str) -> Finished:
    """Run a `driftloop` command to its end, or for LONGEST seconds."""
    previous = signal.signal(signal.SIGALRM, _interrupt)
    signal.alarm(LONGEST)
    try:
        result = CliRunner().invoke(root, list(arguments))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    match result.exception:
        case None | SystemExit():
            code, text = result.exit_code, result.output
            silent = code != 0 and not text.strip()
            fault = "it ended with an error and said nothing" if silent else None
        case PipelineError() as error:
            code, text = 1, error.message
            fault = None if text.strip() else "its error has no message"
        case error:
            return Finished(1, result.output, f"{type(error).__name__}: {str(error)[:300]}")
    return Finished(code, text, "it shows a traceback" if "Traceback (" in text else fault)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise HangError(f"it did not end within {LONGEST} s")
