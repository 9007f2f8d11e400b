"""Pages of all pipelines and of one: overview, loop, drift, rollout, events."""

from dataclasses import replace
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from driftloop.console.answers import (
    answer_page,
    get_console,
    look,
    offer_actions,
    require_pipeline,
    within,
)
from driftloop.console.snapshot import Snapshot
from driftloop.console.views import drift, loop, overview, rollout, samples
from driftloop.console.views.needs import list_needs, list_platform_needs
from driftloop.console.views.times import choose_span
from driftloop.contract.privacy import hide_values
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.verdicts import WindowRecord, read_columns, read_small
from driftloop.local.ground.sentences import drop_alarm_ids
from driftloop.operations.rollouts.rollout_progress import RolloutProgress, read_progress
from driftloop.operations.watching.why import LoopAnswer
from driftloop.pages import column_charts, rollout_charts, time_charts
from driftloop.pages.figures import MonitorLine

KEPT = 60.0
"""Seconds that a stored window is kept, which never changes."""
MOST_CELLS = 64
"""Cells of a column in the map: each is a link, and a page has at most 300 KB."""
MOST_EVENTS, MOST_TOLD = 12, 200
MOST_COMMITS = 30
MOST_LISTED = 30
"""Windows of the table; the charts have all."""


async def show_overview(request: Request) -> Response:
    """Every pipeline in one line."""
    snapshot = await look(request)
    rows = overview.build_rows(snapshot, datetime.now(UTC))
    return answer_page(
        request, "overview.html", snapshot, title="Overview", section="overview", rows=rows,
        counts=overview.count_levels(rows), platform=list_platform_needs(snapshot),
    )  # fmt: skip


async def show_events(request: Request) -> Response:
    """The timeline."""
    snapshot = await look(request)
    events = snapshot.events[::-1][:MOST_TOLD]
    return answer_page(
        request, "events.html", snapshot, title="Events", section="events", events=events
    )


async def show_pipeline(request: Request) -> Response:
    """The loop, everything on one time axis, and why."""
    snapshot, name = await require_pipeline(request)
    now, console = datetime.now(UTC), get_console(request)
    wanted = request.query_params.get("span", "")
    axis = loop.build_axis(snapshot, name, wanted, now)
    answer, trouble = await _ask_why(request, snapshot, name)
    return answer_page(
        request, "pipeline.html", snapshot, title=name, pipeline=name, tab="",
        phase=snapshot.find_phase(name), needs=list_needs(snapshot, name),
        stations=loop.list_stations(snapshot, name, now), axis=axis, span=wanted,
        split=time_charts.draw_split(axis.splits, axis.span, commits=axis.commits, lines=axis.lines),
        drift=[time_charts.draw_drift(each, axis.span, commits=axis.commits) for each in axis.monitors],
        answer=answer, trouble=trouble, actions=offer_actions(request, snapshot, name),
        jobs_here=console.runner.list_jobs(name)[:5], events=_list_events(snapshot, name),
    )  # fmt: skip


def _list_events(snapshot: Snapshot, name: str) -> list[object]:
    """Return the last events that name a pipeline."""
    starts = (f"{name}:", f"{name}-", f"{name} ")
    own = [
        each for each in snapshot.events if each.what.startswith(starts) or f" {name}" in each.what
    ]
    return [*own[::-1][:MOST_EVENTS]]


async def _ask_why(
    request: Request, snapshot: Snapshot, name: str
) -> tuple[LoopAnswer | None, str]:
    console, namespace = get_console(request), snapshot.find_namespace(name)
    if snapshot.status is None:
        return None, "the decision service does not run"
    asked = console.collector.share(("why", name), lambda: console.source.explain(namespace, name))
    answer, trouble = await within(asked, "the decision service has not answered yet")
    return (
        replace(answer, text=drop_alarm_ids(answer.text)) if answer is not None else None
    ), trouble


async def show_drift(request: Request) -> Response:
    """Columns by effect over time, and a window in full."""
    snapshot, name = await require_pipeline(request)
    now, query = datetime.now(UTC), request.query_params
    monitors = drift.list_monitors(snapshot, name, query.get("monitor", ""))
    monitor = next((each.name for each in monitors if each.chosen), "")
    windows = snapshot.find_windows(name).get(monitor, ())
    committed = snapshot.find_committed(name)
    detectors = committed.detectors if committed is not None else {}
    points = loop.list_points(windows, detectors.get(monitor, ""))
    effects = drift.list_effects(windows, points)
    span = choose_span(query.get("span", ""), [point.at for point in points], now)
    line = MonitorLine(monitor, detectors.get(monitor, "monitor"), points)
    record, trouble = await _read_window(request, query.get("window", ""))
    if record is not None and committed is not None and committed.private:
        # one of before a column was private tells more
        record = replace(record, details=hide_values(record.details, committed.private))
    detail, sample = None, None
    if record is not None:
        detail = drift.describe_window(snapshot, name, record, int(query["window"]))
        sample = await _read_sample(request, snapshot, name, record)
    return answer_page(
        request, "drift.html", snapshot, title=f"Drift of {name}", pipeline=name, tab="drift",
        monitors=monitors, monitor=monitor, span=query.get("span", ""),
        chart=time_charts.draw_drift(line, span, commits=loop.list_ticks(committed, span)) if points else "",
        heat=column_charts.draw_effects(effects, span, cells=MOST_CELLS) if effects else "",
        windows=windows[::-1][:MOST_LISTED], detail=detail, trouble=trouble,
        distributions=[column_charts.draw_distribution(each) for each in detail.distributions] if detail else (),
        small=read_small(record.details) if record is not None else (), sample=sample,
    )  # fmt: skip


async def _read_sample(
    request: Request, snapshot: Snapshot, name: str, record: WindowRecord
) -> samples.SampleTable | samples.Absence:
    """Return some of a window's requests, or why there are none."""
    console, committed = get_console(request), snapshot.find_committed(name)
    private = committed.private if committed is not None else None
    if committed is None or private is None:
        return samples.Absence(
            "The spec in git can't be read, and with it which columns are private."
        )
    namespace = snapshot.find_namespace(name)
    streams = DetectorStreams(namespace, name, record.detector, record.release)
    asked = console.collector.share(
        ("sample", streams.verdicts, str(record.window), *sorted(private)),
        lambda: console.source.read_sample(streams, record.first, record.last, private),
        seconds=KEPT,
    )
    events, trouble = await within(asked, "NATS has not answered yet: load the page again")
    if events:
        return samples.build_table(events, read_columns(record.details), private)
    if trouble:
        return samples.Absence(trouble)
    return samples.describe_absence(name, record.release, captures=committed.captures)


async def _read_window(request: Request, wanted: str) -> tuple[WindowRecord | None, str]:
    if not wanted:
        return None, ""
    if not wanted.isdecimal() or len(wanted) > 18:
        return None, f"`{wanted}` is not a window"
    console = get_console(request)
    asked = console.collector.share(
        ("window", wanted), lambda: console.source.read_window(int(wanted)), seconds=KEPT
    )
    return await within(asked, "the verdict stream has not answered yet: load the page again")


async def show_rollout(request: Request) -> Response:
    """Stages, and what is measured beside the limits."""
    snapshot, name = await require_pipeline(request)
    console, committed = get_console(request), snapshot.find_committed(name)
    release = snapshot.find_release(name)
    progress, trouble = await _ask_progress(request, snapshot, name)
    stages = rollout.list_stages(progress) if progress is not None else ()
    return answer_page(
        request, "rollout.html", snapshot, title=f"Rollout of {name}", pipeline=name, tab="rollout",
        release=release, progress=progress, trouble=trouble, actions=offer_actions(request, snapshot, name),
        stages=rollout_charts.draw_stages(stages) if stages else "",
        left=rollout.describe_left(progress) if progress is not None else "",
        commits=committed.commits[:MOST_COMMITS] if committed is not None else (),
        jobs_here=console.runner.list_jobs(name)[:5],
    )  # fmt: skip


async def _ask_progress(
    request: Request, snapshot: Snapshot, name: str
) -> tuple[RolloutProgress | None, str]:
    console, committed = get_console(request), snapshot.find_committed(name)
    state = console.state
    workflow = rollout.find_workflow(snapshot, name)
    if committed is None or committed.release.candidate is None or state is None:
        return None, ""
    if workflow is None:
        return None, "The Workflow of this rollout is not known: it ended, or is not here."
    asked = console.collector.share(
        ("rollout", name, workflow),
        lambda: read_progress(state, console.environment, workflow, committed.release),
    )
    return await within(asked, "the analysis has not answered yet")
