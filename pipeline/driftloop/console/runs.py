"""Pages of runs: the table, some side by side, one of them."""

from datetime import UTC, datetime
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from driftloop.console.answers import (
    Console,
    UnknownThingError,
    answer_page,
    get_console,
    look,
    require_pipeline,
)
from driftloop.console.snapshot import Snapshot
from driftloop.console.templating import group_rows
from driftloop.console.views import runs
from driftloop.contract.documents import escape_text
from driftloop.contract.runs import RunReport
from driftloop.errors import PipelineError
from driftloop.operations.platform.logs import find_logs, read_lines
from driftloop.pages.documents import digest_style
from driftloop.pages.rollout_charts import draw_gates

REPORT_POLICY = f"default-src 'none'; style-src {digest_style()}; frame-ancestors 'none'"
LINES = 300
"""Lines at the end of a log that a page shows."""
FILTERS = ("pipeline", "outcome", "trigger", "q", "sort")


async def show_runs(request: Request) -> Response:
    """All runs."""
    return _answer_table(request, await look(request), "")


async def show_pipeline_runs(request: Request) -> Response:
    """The runs of a pipeline."""
    snapshot, name = await require_pipeline(request)
    return _answer_table(request, snapshot, name)


def _answer_table(request: Request, snapshot: Snapshot, name: str) -> Response:
    query = {each: request.query_params.get(each, "")[:200] for each in FILTERS}
    query["sort"] = query["sort"] or "started"
    found = snapshot.find_runs(name) if name else snapshot.runs
    if name:
        query["pipeline"] = ""
    return answer_page(
        request, "runs.html", snapshot, title=f"Runs of {name}" if name else "Runs",
        section="" if name else "runs", pipeline=name, tab="runs" if name else None,
        table=runs.build_table(found, query, datetime.now(UTC)), query=query,
    )  # fmt: skip


async def show_comparison(request: Request) -> Response:
    """Several runs side by side."""
    snapshot = await look(request)
    wanted = list(dict.fromkeys(request.query_params.getlist("run")))[: runs.MOST_COMPARED]
    found = [run for id in wanted if (run := snapshot.find_run(id)) is not None]
    known = {run.report.run for run in found}
    rows = runs.compare(found)
    return answer_page(
        request, "compare.html", snapshot, title="Runs side by side", section="runs", runs=found,
        sections=group_rows(rows), differences=sum(row.differs for row in rows),
        unknown=[id for id in wanted if id not in known],
    )  # fmt: skip


async def show_run(request: Request) -> Response:
    """One run: steps, logs, gates, trials."""
    snapshot, id = await look(request), request.path_params["run"]
    run = snapshot.find_run(id)
    if run is None:
        raise UnknownThingError(
            f"no run `{id}` is known here",
            hint="A run is known once its first step has begun; pruned ones are in git only.",
        )
    now, console = datetime.now(UTC), get_console(request)
    name = run.report.pipeline
    logs = list_logs(console, run.report)
    chosen = request.query_params.get("log", "")
    own = [each.report.run for each in snapshot.find_runs(name)]
    place = own.index(id)
    return answer_page(
        request, "run.html", snapshot, title=id, pipeline=name, tab="runs", run=run,
        row=runs.build_row(run, now), steps=runs.list_steps(run.report, {}, now), logs=tuple(logs),
        chosen_log=chosen if chosen in logs else "", log_text=read_log(logs.get(chosen)),
        gates=run.report.gates, gates_chart=draw_gates(runs.list_gates(run.report)),
        previous=own[place + 1] if place + 1 < len(own) else None,
        jobs_here=[job for job in console.runner.list_jobs(name) if id in job.title],
    )  # fmt: skip


async def show_report(request: Request) -> Response:
    """The report that is stored with a run: a page of its own, with its own style and without scripts."""
    id, console = request.path_params["run"], get_console(request)
    if (await look(request)).find_run(id) is None:
        raise UnknownThingError(f"no run `{id}` is known here")
    page = await run_in_threadpool(console.source.read_report, id)
    return HTMLResponse(page, headers={"content-security-policy": REPORT_POLICY})


def list_logs(console: Console, report: RunReport) -> dict[str, Path]:
    """Return the logs of a run's steps that are still there, by name."""
    if console.state is None:
        return {}
    found: dict[str, Path] = {}
    for workflow in dict.fromkeys((report.run, *filter(None, [report.rollout]))):
        try:
            logs = find_logs(console.state, f"{workflow}/")
        except PipelineError:
            continue
        found |= {name: file for name, file in logs.items() if name.startswith(f"{workflow}/")}
    return dict(sorted(found.items(), key=lambda item: item[0]))


def read_log(file: Path | None) -> str:
    """Return the end of a log; empty for none."""
    if file is None:
        return ""
    return "\n".join(escape_text(line) for line in read_lines(file, last=LINES, follow=False))
