"""`python -m driftloop.local.knative --state DIR`: reads run/ports.json, then runs until it is
stopped.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path

import uvloop

from driftloop.clients import cancellation
from driftloop.errors import LocalError, PipelineError
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
        cancellation.run(_run_broker(arguments.state / "run"), loop_factory=uvloop.new_event_loop)
    except PipelineError as error:
        sys.exit(f"error: {error}")


async def _run_broker(run: Path) -> None:
    try:
        ports = json.loads((run / "ports.json").read_text())
        nats, port = int(ports["nats"]), int(ports["broker"])
    except (OSError, ValueError, KeyError) as error:
        raise LocalError(
            f"{run / 'ports.json'} can't be used: {error}", hint="`driftloop up` writes it"
        ) from error
    task = asyncio.ensure_future(serve_broker(run, nats_url=f"nats://127.0.0.1:{nats}", port=port))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
