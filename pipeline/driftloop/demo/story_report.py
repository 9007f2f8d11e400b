"""The demo's report, and its chart: what it saw itself, beside what git, the runs and the verdicts tell."""

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

from driftloop.errors import PipelineError
from driftloop.local.ground import addresses
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.target import open_target
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.run_store import open_local_runs
from driftloop.operations.stories.reports import ReportChoice, read_report
from driftloop.operations.traces.kept_requests import find_nats
from driftloop.operations.traces.traces import TracePlace
from driftloop.pages.figures import QualityLine, TimeSpan
from driftloop.pages.reports import Report, draw_report
from driftloop.pages.terminal_charts import draw_story
from driftloop.pages.terminal_text import TerminalLine

FILE = "report.html"
STRETCH = 4.0
"""Seconds of answers in each point of the curve."""
NAME = "share of right answers"


def measure_line(answers: Sequence[tuple[float, bool]]) -> QualityLine:
    """Return the share of right answers over time, from the moments of answers on the monotonic clock."""
    now, clock = datetime.now(UTC), monotonic()
    stretches: dict[int, list[tuple[float, bool]]] = {}
    for at, right in answers:
        stretches.setdefault(math.floor(at / STRETCH), []).append((at, right))
    points = [
        (
            now + timedelta(seconds=sum(at for at, _ in found) / len(found) - clock),
            sum(right for _, right in found) / len(found),
        )
        for _, found in sorted(stretches.items())
    ]
    return QualityLine(NAME, tuple(points))


def write_report(place: StateFolder, pipeline: str, line: QualityLine) -> tuple[Report, Path]:
    """Write the report of everything so far into the state folder; PipelineError when it can't be read."""
    state = StateChoice(place, "option")
    with (
        open_target(
            None, branch=addresses.BRANCH, state=state, environment={}, report=lambda _: None
        ) as target,
        open_local_runs(place, os.environ) as runs,
    ):
        repository = target.repository
        trace = TracePlace(runs, repository, repository.tip(), find_nats(place, {}))
        lines = (line,) if line.points else ()
        report = read_report(trace, ReportChoice(pipeline=pipeline, lines=lines))
    file = place.root / FILE
    try:
        file.write_text(draw_report(report), encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{file} can't be written: {error.strerror}") from error
    return report, file


def draw_chart(
    report: Report, line: QualityLine, *, seconds: float, width: int
) -> tuple[TerminalLine, ...]:
    """Draw the story for a terminal, `seconds` after its beginning: empty without an answer."""
    if not line.points:
        return ()
    now = datetime.now(UTC)
    shown = TimeSpan(
        min(line.points[0][0], *(commit.at for commit in report.commits), now), line.points[-1][0]
    )
    commits = [commit for commit in report.commits if commit.kind != "spec"]
    return draw_story(
        line, report.splits, commits, shown, width=width, origin=now - timedelta(seconds=seconds)
    )
