"""Pages that change something: one that asks, one that tells what became of it."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from driftloop.console.access import FORM_TOKEN, read_form
from driftloop.console.actions import find_action
from driftloop.console.answers import (
    UnknownThingError,
    answer_page,
    get_console,
    look,
    require_options,
    require_pipeline,
)
from driftloop.console.jobs import Job
from driftloop.console.views.places import HOME
from driftloop.errors import PipelineError

ASKED = "asked"
"""Field of a form with what its page said that would be done."""
_SHOWN = {"commit": "commit", "run": "run", "production": "production is", "phase": "the loop is"}
"""Keys of what commands print, and their words."""


async def ask_action(request: Request) -> Response:
    """Say what an action will do, and ask."""
    snapshot, name = await require_pipeline(request)
    given = dict(request.query_params)
    require_options(get_console(request), request.path_params["action"])
    action = find_action(snapshot, name, request.path_params["action"], given)
    return answer_page(
        request, "act.html", snapshot, title=action.title, pipeline=name, action=action
    )


async def start_action(request: Request) -> Response:
    """Start a confirmed action: the command of the same name."""
    snapshot, name = await require_pipeline(request)
    console = get_console(request)
    options = require_options(console, request.path_params["action"])
    given = read_form(await request.body())
    given.pop(FORM_TOKEN, None)
    asked = given.pop(ASKED, None)
    action = find_action(snapshot, name, request.path_params["action"], given)
    if asked not in (None, action.title):
        raise PipelineError(
            f"things have changed since this was asked: it would not be `{asked}` now, but `{action.title}`",
            hint=f"If that is what you want, confirm it on {HOME}/{name}/act/{action.key}.",
        )
    job = console.runner.start_job(
        name, action.title, (*action.build_arguments(given), *options), action.write_files(given),
        person=console.access.find_person(request.headers),
    )  # fmt: skip
    return RedirectResponse(f"/jobs/{job.id}", 303)


async def show_job(request: Request) -> Response:
    """Tell how a command stands."""
    snapshot, job = (
        await look(request),
        get_console(request).runner.find_job(request.path_params["id"]),
    )
    if job is None:
        raise UnknownThingError(
            "this action is not known any more", hint="It was started before this console was."
        )
    return answer_page(
        request, "job.html", snapshot, title=job.title, pipeline=job.pipeline, job=job,
        results=list_results(job),
    )  # fmt: skip


def list_results(job: Job) -> list[tuple[str, str, str]]:
    """Return what a command printed as words, values and the pages of them."""
    text = job.output.strip()
    document = _read_document(text)
    if document is None:
        return [("", text.splitlines()[-1], "")] if text else []
    results = []
    for key, word in _SHOWN.items():
        value = document.get(key)
        if isinstance(value, str) and value:
            results.append(
                (word, value[:12] if key == "commit" else value, _find_place(job, key, value))
            )
    return results


def _read_document(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _find_place(job: Job, key: str, value: str) -> str:
    match key:
        case "commit":
            return f"/commits/{value}"
        case "run":
            return f"/runs/{value}"
        case "production":
            return f"{HOME}/{job.pipeline}/releases/{value}"
        case _:
            return ""
