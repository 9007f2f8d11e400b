"""Answering of pages: the parts that all of them have, and refusals."""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse

from driftloop.console.access import Access, AccessKey
from driftloop.console.actions import find_options, list_offers
from driftloop.console.collector import Collector
from driftloop.console.jobs import CommandRunner
from driftloop.console.snapshot import Snapshot
from driftloop.console.source import Source
from driftloop.console.templating import render_page
from driftloop.errors import PipelineError
from driftloop.local.ground.state import StateFolder

SHARED = 0.8
"""Seconds that a page waits for what it asks a service: the next one has it."""
T = TypeVar("T")
TABS = (
    ("", "Loop"),
    ("drift", "Drift"),
    ("runs", "Runs"),
    ("rollout", "Rollout"),
    ("releases", "Releases"),
    ("spec", "Spec"),
)


@dataclass(frozen=True)
class Console:
    """Everything that pages are made of."""

    access: Access
    collector: Collector
    runner: CommandRunner
    state: StateFolder | None
    """None for a cluster."""
    environment: Mapping[str, str]
    repository: str | None = None
    """Of a cluster: address of the repository that people may commit to from here; None for a
    cluster that is only read."""
    on: str | None = None
    """Name of the cluster in a repository that has several."""

    @property
    def key(self) -> AccessKey:
        """The key of this start; a cluster's console has none."""
        if not isinstance(self.access, AccessKey):
            raise TypeError("a console behind a login has no key")
        return self.access

    @property
    def source(self) -> Source:
        """The source that pages are read from, in words."""
        return self.collector.source


class UnknownThingError(PipelineError):
    """Something that a page is about does not exist, or not any more."""


def get_console(request: Request) -> Console:
    """Return the console that answers."""
    console: Console = request.app.state.console
    return console


async def look(request: Request) -> Snapshot:
    """Return the snapshot of a page."""
    return await get_console(request).collector.look()


def require_options(console: Console, action: str) -> tuple[str, ...]:
    """Return where the command of an action works; PipelineError for an action that is not done here."""
    return () if console.state is not None else find_options(action, console.repository, console.on)


def offer_actions(request: Request, snapshot: Snapshot, name: str) -> tuple[tuple[str, str], ...]:
    """Return the actions that a pipeline's page offers as things stand, and their words."""
    console, offered = get_console(request), []
    for action, words in list_offers(snapshot, name):
        with contextlib.suppress(PipelineError):
            require_options(console, action)
            offered.append((action, words))
    return tuple(offered)


async def require_pipeline(request: Request) -> tuple[Snapshot, str]:
    """Return the snapshot and the pipeline that a path names; UnknownThingError when there is none."""
    snapshot, name = await look(request), request.path_params["name"]
    if not snapshot.has_pipeline(name):
        listed = ", ".join(snapshot.names) or "none"
        raise UnknownThingError(
            f"there is no pipeline `{name}` here, there are: {listed}",
            hint="It may have been removed: `driftloop remove` takes a pipeline out of the cluster repository.",
        )
    return snapshot, name


async def within(asked: Awaitable[T], late: str, seconds: float = SHARED) -> tuple[T | None, str]:
    """Return an answer, or None and why there is none yet."""
    try:
        return await asyncio.wait_for(asked, seconds), ""
    except TimeoutError:
        return None, late
    except PipelineError as error:
        return None, error.message


def answer_page(
    request: Request,
    template: str,
    snapshot: Snapshot,
    *,
    title: str,
    section: str = "",
    pipeline: str = "",
    tab: str | None = None,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """Return a page."""
    query = request.url.query
    text = render_page(
        template,
        snapshot=snapshot,
        title=title,
        section=section,
        pipeline=pipeline,
        tabs=TABS,
        tab=tab,
        path=request.url.path + (f"?{query}" if query else ""),
        form_token=get_console(request).access.derive_form_token(request.headers),
        **values,
    )
    return HTMLResponse(text, status)


def answer_refusal(
    request: Request, snapshot: Snapshot, error: PipelineError, *, status: int
) -> HTMLResponse:
    """Return the page that says what could not be done, and why."""
    title = "There is nothing here" if status == 404 else "This could not be done"
    return answer_page(
        request, "refusal.html", snapshot, title=title, status=status, message=error.message, hint=error.hint
    )  # fmt: skip
