"""`tether.py PARENT PROGRAM ARGUMENT…`: become PROGRAM, and end when the process PARENT does,
however it ends.

A program of its own, since its parents have threads: running Python between fork and exec could
lock up there. It costs 40 ms at a start and nothing afterwards.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

NOT_STARTED = 127
"""Exit code when PROGRAM can't be run, as a shell has it."""


def run_tethered(parent: int, argv: list[str]) -> None:
    """Never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # it ended before it was tethered to
        os._exit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{argv[0]} can't be started: {error.strerror or error}\n")
        sys.stderr.flush()
        os._exit(NOT_STARTED)


if __name__ == "__main__":
    run_tethered(int(sys.argv[1]), sys.argv[2:])
