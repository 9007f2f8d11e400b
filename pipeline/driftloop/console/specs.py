"""The spec of a pipeline: its text, what is wrong with it as one types, the plan beside it, and the ways
out: a commit, or a branch for a pull request."""

import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from driftloop.console.access import read_form
from driftloop.console.answers import answer_page, get_console, require_pipeline
from driftloop.console.templating import render_page
from driftloop.console.views.completions import list_completions
from driftloop.contract.trees import SPEC
from driftloop.errors import PipelineError
from driftloop.operations.commits.drafts import list_problems
from driftloop.spec.forms import read_schema

DRAFTING = "driftloop.console.drafting"
"""Program that plans and commits drafts."""
TEXT = "text"
"""Field with the draft."""


async def show_spec(request: Request) -> Response:
    """The committed text, to look at and to edit."""
    snapshot, name = await require_pipeline(request)
    committed = snapshot.find_committed(name)
    return answer_page(
        request, "spec.html", snapshot, title=f"Spec of {name}", pipeline=name, tab="spec",
        text=committed.spec if committed is not None else "",
        can_edit=get_console(request).state is not None and committed is not None,
    )  # fmt: skip


async def check_spec(request: Request) -> Response:
    """List the problems of a draft; where there are none, the plan is asked for."""
    _, name = await require_pipeline(request)
    text = _read_text(await request.body())
    problems = await run_in_threadpool(list_problems, text, name)
    return HTMLResponse(
        render_page("findings.html", problems=problems[:50], more=len(problems[50:]), name=name)
    )


async def complete_spec(request: Request) -> Response:
    """The keys and values that may stand where somebody types."""
    await require_pipeline(request)
    form = read_form(await request.body())
    line, column = (_read_number(form.get(name, "")) for name in ("line", "column"))
    # not cut at its end, as files are: somebody types there
    text = form.get(TEXT, "").replace("\r\n", "\n")
    found = await run_in_threadpool(list_completions, read_schema(), text, line, column)
    return HTMLResponse(render_page("possible.html", found=found))


def _read_number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 0


async def plan_spec(request: Request) -> Response:
    """Plan a commit of a draft."""
    _, name = await require_pipeline(request)
    text = _read_text(await request.body())
    runner = get_console(request).runner
    result = await runner.run_command(["plan", SPEC, name], {SPEC: text}, module=DRAFTING)
    plan = json.loads(result.output) if not result.code else None
    return HTMLResponse(render_page("plan.html", plan=plan, trouble=result.refusal, name=name))


async def commit_spec(request: Request) -> Response:
    """Commit a draft, or put it on a branch."""
    _, name = await require_pipeline(request)
    console = get_console(request)
    if console.state is None:
        raise PipelineError("the console only reads a cluster")
    form = read_form(await request.body())
    to_branch = form.get("way") == "branch"
    title = f"Put a change of {name} on a branch" if to_branch else f"Commit a change of {name}"
    arguments = ["commit", SPEC, name, *(["--branch"] if to_branch else [])]
    files = {SPEC: _normalize(form.get(TEXT, ""))}
    job = console.runner.start_job(name, title, arguments, files, module=DRAFTING)
    return RedirectResponse(f"/jobs/{job.id}", 303)


def _read_text(body: bytes) -> str:
    return _normalize(read_form(body).get(TEXT, ""))


def _normalize(text: str) -> str:
    """Return a text with the line ends that files have: forms send others."""
    return text.replace("\r\n", "\n").rstrip() + "\n"
