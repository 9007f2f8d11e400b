"""aiohttp applications as doors: a client's own fault is one line in the log, never a traceback."""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

_LONGEST = 200
_HUNG_UP = ("Connection lost", "Cannot write to closing transport")
"""Texts of the errors that aiohttp raises when a client leaves before its request, or the answer, is whole."""


class ClientFaults(logging.Filter):
    """Shortens what aiohttp logs of requests that are not HTTP and of clients that hung up."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; those of a client's fault without their traceback."""
        error = record.exc_info[1] if record.exc_info else None
        match error:
            case HttpProcessingError():
                lines = str(error.message).split()
                text = f"refused: {' '.join(lines)[:_LONGEST]}"
            case ConnectionResetError() if str(error) in _HUNG_UP:
                text = "not answered: the client hung up"
            case _:
                return True
        record.msg = f"{record.getMessage()}: {text}"
        record.args = ()
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def build_runner(application: web.Application, *, stop_timeout: float = 60.0) -> web.AppRunner:
    """Return a runner of an application, without an access log."""
    logger = logging.getLogger("aiohttp.server")
    if not any(isinstance(each, ClientFaults) for each in logger.filters):
        logger.addFilter(ClientFaults())
    return web.AppRunner(application, access_log=None, logger=logger, shutdown_timeout=stop_timeout)
