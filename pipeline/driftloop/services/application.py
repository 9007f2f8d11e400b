"""HTTP server of an aiohttp application, for the services that few requests reach."""

from aiohttp import web

from driftloop.clients.applications import build_runner
from driftloop.services.bootstrap import BACKLOG

STOP_TIMEOUT = 2.0
"""Seconds that requests in progress may take once the service stops."""


class ApplicationServer:
    """Serves an application between `start` and `close`."""

    def __init__(self, application: web.Application) -> None:
        self._runner = build_runner(application, stop_timeout=STOP_TIMEOUT)

    async def start(self, host: str, port: int) -> None:
        """Run the application's start-up, then listen; OSError when the port is not free."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=BACKLOG).start()

    async def close(self) -> None:
        """Stop listening, wait for requests in progress and run the application's clean-up."""
        await self._runner.cleanup()
