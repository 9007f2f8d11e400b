"""`tether.py PARENT PROGRAM ARGUMENT…`: become PROGRAM, and end when the process PARENT does, however it ends.

A program of its own, since the runner has threads: running Python between fork and exec could lock up there.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, argv: list[str]) -> None:
    """Never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # it ended before it was tethered to
        os._exit(1)
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
