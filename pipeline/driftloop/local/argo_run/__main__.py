"""`python -m driftloop.local.argo_run --state DIR`."""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import signal
import sys
from pathlib import Path

from driftloop.clients import cancellation
from driftloop.errors import PipelineError
from driftloop.local.argo_run.serve import serve
from driftloop.local.ground.state import StateFolder


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return 1 when it can't start."""
    parser = argparse.ArgumentParser(
        prog="argo", description="The local stand-in for Argo Events and Argo Workflows."
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="the state folder of `driftloop up`"
    )
    options = parser.parse_args(arguments)
    # `kill -USR1` prints the stacks of all threads into the log
    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        cancellation.run(_until_stopped(StateFolder.open_folder(options.state)))
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


async def _until_stopped(state: StateFolder) -> None:
    task = asyncio.create_task(serve(state))
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
