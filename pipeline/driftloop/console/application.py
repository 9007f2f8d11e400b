"""The web application: which path is which page, what is served beside them, and how errors are said."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from driftloop.console import acting, pipelines, releases, runs, specs
from driftloop.console.access import AccessGate
from driftloop.console.answers import Console, UnknownThingError, answer_refusal, get_console
from driftloop.console.templating import PACKAGE
from driftloop.errors import PipelineError
from driftloop.pages.documents import read_style

log = logging.getLogger("console")

ASSETS = {
    "htmx.min.js": "text/javascript",
    "idiomorph-ext.min.js": "text/javascript",
    "console.js": "text/javascript",
    "console.css": "text/css",
    "icon.svg": "image/svg+xml",
    "style.css": "text/css",
}
"""Files that pages load, and their types; nothing else is served."""

ROUTES = (
    ("/", pipelines.show_overview),
    ("/events", pipelines.show_events),
    ("/runs", runs.show_runs),
    ("/runs/compare", runs.show_comparison),
    ("/runs/{run}", runs.show_run),
    ("/runs/{run}/report", runs.show_report),
    ("/requests", releases.show_requests),
    ("/trace", releases.show_trace),
    ("/commits/{sha}", releases.show_commit),
    ("/jobs/{id}", acting.show_job),
    ("/pipelines/{name}", pipelines.show_pipeline),
    ("/pipelines/{name}/drift", pipelines.show_drift),
    ("/pipelines/{name}/runs", runs.show_pipeline_runs),
    ("/pipelines/{name}/rollout", pipelines.show_rollout),
    ("/pipelines/{name}/releases", releases.show_releases),
    ("/pipelines/{name}/releases/{release}", releases.show_release),
    ("/pipelines/{name}/releases/{release}/card", releases.show_card),
    ("/pipelines/{name}/spec", specs.show_spec),
    ("/pipelines/{name}/act/{action}", acting.ask_action),
)
"""Pages."""
FORMS = (
    ("/pipelines/{name}/act/{action}", acting.start_action),
    ("/pipelines/{name}/spec/check", specs.check_spec),
    ("/pipelines/{name}/spec/complete", specs.complete_spec),
    ("/pipelines/{name}/spec/plan", specs.plan_spec),
    ("/pipelines/{name}/spec/commit", specs.commit_spec),
)
"""What changes or computes something."""


def build_application(console: Console) -> ASGIApp:
    """Return the application, its gate before it."""

    @contextlib.asynccontextmanager
    async def look_while_running(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(console.collector.run_forever(), name="collector")
        try:
            yield
        finally:
            task.cancel()
            await console.runner.close()
            await asyncio.gather(task, return_exceptions=True)

    application = Starlette(
        routes=[
            Route("/healthz", answer_health),
            Route("/live", follow_changes),
            Route("/assets/{name}", serve_asset),
            *(Route(path, page) for path, page in ROUTES),
            *(Route(path, form, methods=["POST"]) for path, form in FORMS),
        ],
        exception_handlers={
            UnknownThingError: _refuse_unknown,
            PipelineError: _refuse,
            HTTPException: _refuse_path,
            Exception: _tell_bug,
        },
        lifespan=look_while_running,
    )
    application.state.console = console
    return AccessGate(application, console.access)


async def answer_health(_: Request) -> Response:
    """It lives."""
    return PlainTextResponse("ok\n")


async def follow_changes(request: Request) -> Response:
    """One event for each new version of the snapshot, for as long as somebody listens."""
    collector = get_console(request).collector

    async def write_events() -> AsyncIterator[str]:
        async with contextlib.aclosing(collector.follow_versions()) as versions:
            async for version in versions:
                yield ": alive\n\n" if version is None else f"event: change\ndata: {version}\n\n"

    return StreamingResponse(write_events(), media_type="text/event-stream")


async def serve_asset(request: Request) -> Response:
    """A file that pages load."""
    name = request.path_params["name"]
    if name not in ASSETS:
        return PlainTextResponse("not found\n", 404)
    text = read_style() if name == "style.css" else (files(PACKAGE) / "assets" / name).read_text()
    # asked again after a minute: an upgrade must not meet the scripts of the version before
    return Response(text, media_type=ASSETS[name], headers={"cache-control": "max-age=60"})


async def _refuse_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, PipelineError)  # noqa: S101 - registered for it
    return answer_refusal(request, get_console(request).collector.snapshot, error, status=404)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, PipelineError)  # noqa: S101 - registered for it
    return answer_refusal(request, get_console(request).collector.snapshot, error, status=422)


async def _refuse_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    unknown = UnknownThingError(f"there is no page `{request.url.path}`")
    return answer_refusal(
        request, get_console(request).collector.snapshot, unknown, status=error.status_code
    )


async def _tell_bug(request: Request, error: Exception) -> Response:
    """A bug keeps its traceback, in the log."""
    log.error("%s failed", request.url.path, exc_info=error)
    return PlainTextResponse("an error of the console's: `driftloop logs console` has it\n", 500)
