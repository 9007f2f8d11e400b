"""Listening: on 127.0.0.1 only, or on a cluster for its gateway, with bounds for what a client may hold."""

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import uvicorn

from driftloop.console.access import Access, AccessKey
from driftloop.console.answers import Console
from driftloop.console.application import build_application
from driftloop.console.collector import Collector
from driftloop.console.jobs import CommandRunner
from driftloop.console.source import LocalSource, Source
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.rollouts.answer_counts import AnswerCount, read_answer_counts

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a pod's; a NetworkPolicy lets the gateway alone in
MOST_CONNECTIONS = 200
"""Requests at once; more are answered 503."""
GRACE = 2
"""Seconds that pages under way get when it is stopped: a live page would never end."""


def build_console(
    source: Source,
    access: Access,
    *,
    state: StateFolder | None,
    place: Sequence[str],
    environment: Mapping[str, str],
    repository: str | None = None,
    on: str | None = None,
) -> Console:
    """Return a console of a source; `place` are the options by which commands find it."""

    def read_counts() -> Mapping[str, AnswerCount]:
        return read_answer_counts(state) if state is not None else {}

    collector = Collector(source, read_counts=read_counts)
    runner = CommandRunner(place, collector.tell_change)
    return Console(access, collector, runner, state, environment, repository, on)


def build_local_console(state: StateFolder, key: AccessKey) -> Console:
    """Return the console of a state folder."""
    environment = dict(os.environ)
    return build_console(
        LocalSource(state, environment),
        key,
        state=state,
        place=("--state", str(state.root)),
        environment=environment,
    )


@contextlib.contextmanager
def listen(port: int, host: str = HOST) -> Iterator[socket.socket]:
    """A listening socket; LocalError when something else listens there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise LocalError(
                f"port {port} of {host} can't be listened on: {error.strerror}",
                hint="choose another one with --port",
            ) from error
        yield listener


async def serve(console: Console, listener: socket.socket, *, ready: Callable[[], None]) -> None:
    """Answer until cancelled, or a signal; `ready` hears when it does."""
    config = uvicorn.Config(
        build_application(console),
        http="h11",
        ws="none",
        loop="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=32 * 1024,
    )
    await _ReadyServer(config, ready, console.collector.end_visits).serve(sockets=[listener])


class _ReadyServer(uvicorn.Server):
    """A server that tells when it answers."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        end_visits: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._end_visits = end_visits

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # live pages would never end by themselves
        await self._end_visits()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
