"""Start and stop of every service: options, environment, logging, event loop, signals, HTTP
server."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from driftloop.clients import cancellation
from driftloop.contract.names import LISTEN_VARIABLE
from driftloop.errors import PipelineError

PORT = 8080
HOST = "0.0.0.0"  # noqa: S104 - the address of a container's server
BACKLOG = 512


class ServiceError(PipelineError):
    """A service that cannot start."""


class HttpServer(Protocol):
    """Anything that serves HTTP between `start` and `close`."""

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError when the port is not free."""
        ...

    async def close(self) -> None:
        """Stop listening and close the connections."""
        ...


def build_parser(prog: str, description: str | None, example: str) -> argparse.ArgumentParser:
    """Return a service's parser; `--help` ends with the example."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every service: its pipeline and its address."""
    parser.add_argument("--namespace", required=True, help="namespace of the pipeline")
    parser.add_argument("--pipeline", required=True, help="name of the pipeline")
    parser.add_argument(
        "--port", type=int, default=PORT, help="port to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default=os.environ.get(LISTEN_VARIABLE) or HOST,
        help="address to listen on (default: %(default)s)",
    )


def run_program(
    parser: argparse.ArgumentParser, program: Callable[[argparse.Namespace], None]
) -> None:
    """Parse the options and call the program; exit 1 with one line for what a user can fix."""
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        program(arguments)
    except PipelineError as error:
        sys.exit(f"error: {error}")


def run_until_stopped(service: Coroutine[Any, Any, None]) -> None:
    """Run a service in an event loop of its own until SIGTERM or SIGINT cancels it."""
    import uvloop

    async def run() -> None:
        task = asyncio.ensure_future(service)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    cancellation.run(run(), loop_factory=uvloop.new_event_loop)


async def wait_forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def serve_http(server: HttpServer, host: str, port: int) -> AsyncIterator[None]:
    """Serve HTTP for the length of a `with`; ServiceError when the port is not free."""
    try:
        try:
            await server.start(host, port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ServiceError(
                f"port `{port}` cannot be used: {reason}", hint="choose another --port"
            ) from error
        yield
    finally:
        await server.close()
