"""`driftloop-judge --pipeline P --namespace N [--port 8080]`; NATS_URL from the environment."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys

from aiohttp import web

from driftloop.clients import nats as jetstream
from driftloop.contract.platform import NATS
from driftloop.errors import PipelineError
from driftloop.services.analysis.service import Judge, Settings


def main() -> None:
    """Entry point of `driftloop-judge`."""
    parser = argparse.ArgumentParser(prog="driftloop-judge", description=__doc__)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--each-pod", action="store_true", help="predictors have several pods")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's door
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings(arguments.pipeline, arguments.namespace, NATS.read(os.environ), each_pod=arguments.each_pod)
        asyncio.run(_serve(settings, arguments.host, arguments.port))
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: port {arguments.port}: {error.strerror}\n\nhint: is another judge running?")


async def _serve(settings: Settings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with jetstream.connection(settings.nats_url, name="driftloop-judge", wait=60) as js:
        runner = web.AppRunner(Judge(settings, js).application(), access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=512).start()
            await stop.wait()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await runner.cleanup()


if __name__ == "__main__":
    main()
