"""`python -m driftloop.local.knative --state DIR`: reads run/ports.json and run/platform.json, then
runs until it is stopped.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import uvloop

from driftloop.clients import cancellation
from driftloop.contract.platform import NATS
from driftloop.errors import PipelineError
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.local.knative.service import serve_broker


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="broker", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the state folder")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        cancellation.run(
            _run_broker(StateFolder.open_folder(arguments.state)),
            loop_factory=uvloop.new_event_loop,
        )
    except PipelineError as error:
        sys.exit(f"error: {error}")


async def _run_broker(state: StateFolder) -> None:
    nats = LocalSettings.load(state)[NATS]
    port = state.require_port("broker")
    task = asyncio.ensure_future(serve_broker(state.run, nats_url=nats, port=port))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
