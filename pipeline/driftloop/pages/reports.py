"""The report of a pipeline: one page that needs no server and no network, to be sent around or kept with a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from driftloop.pages.column_charts import draw_distribution, draw_effects
from driftloop.pages.documents import digest_style, render_document
from driftloop.pages.figures import (
    ColumnDistribution,
    ColumnEffect,
    CommitTick,
    GateFigure,
    MonitorLine,
    QualityLine,
    RolloutStage,
    TimeSpan,
    TrafficSplit,
)
from driftloop.pages.rollout_charts import draw_gates, draw_stages
from driftloop.pages.svg import describe_span, shorten_text
from driftloop.pages.time_charts import draw_drift, draw_split

LARGEST = 300_000
"""Bytes of a report at most."""


@dataclass(frozen=True)
class StoryLine:
    """One thing that happened, in a sentence."""

    at: datetime
    text: str
    commit: str = ""
    """Commit that did it; empty for what no commit did."""
    kind: str = ""
    """`good` and `bad` are coloured."""


@dataclass(frozen=True)
class RunSummary:
    """One training run."""

    run: str
    started: datetime | None
    seconds: float | None
    cause: str
    """Why it was started, as a sentence goes on with it."""
    outcome: str
    reason: str
    release: str | None
    parameters: tuple[tuple[str, str], ...] = ()
    metrics: tuple[tuple[str, float, float | None], ...] = ()
    """Metric, the candidate's value, and production's at that time."""
    gates: tuple[GateFigure, ...] = ()
    data: str = ""


@dataclass(frozen=True)
class RolloutSummary:
    """The rollout of one release."""

    release: str
    span: TimeSpan
    stages: tuple[RolloutStage, ...]
    end: str = ""
    """How it ended, in words."""


@dataclass(frozen=True)
class WindowPicture:
    """The columns of one window beside the reference data."""

    title: str
    columns: tuple[ColumnDistribution, ...]


@dataclass(frozen=True)
class MonitorSummary:
    """Summary of one monitor."""

    line: MonitorLine
    effects: tuple[ColumnEffect, ...] = ()
    pictures: tuple[WindowPicture, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a report shows, of one release or of a time."""

    pipeline: str
    title: str
    summary: tuple[str, ...]
    """The story in a few sentences."""
    span: TimeSpan
    written: datetime
    facts: tuple[tuple[str, str], ...] = ()
    story: tuple[StoryLine, ...] = ()
    splits: tuple[TrafficSplit, ...] = ()
    lines: tuple[QualityLine, ...] = ()
    commits: tuple[CommitTick, ...] = ()
    monitors: tuple[MonitorSummary, ...] = ()
    runs: tuple[RunSummary, ...] = ()
    rollouts: tuple[RolloutSummary, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""


@dataclass(frozen=True)
class _Detail:
    """Detail of a report; one that is too large is drawn again with less."""

    rows: int
    bars: int
    columns: int
    text: int


_DETAILS = (
    _Detail(rows=60, bars=160, columns=16, text=400),
    _Detail(rows=40, bars=100, columns=10, text=240),
    _Detail(rows=20, bars=50, columns=6, text=120),
    _Detail(rows=8, bars=20, columns=3, text=60),
)


def draw_report(report: Report) -> str:
    """Return a report as the text of an .html file of at most `LARGEST` bytes: with so much to show that it
    would be larger, the oldest and the smallest are left out, and the page says so."""
    for detail in _DETAILS[:-1]:
        if len((text := _draw(report, detail)).encode()) <= LARGEST:
            return text
    return _draw(report, _DETAILS[-1])


def _draw(report: Report, detail: _Detail) -> str:
    return render_document(
        "report.html",
        report=report,
        policy=f"default-src 'none'; style-src {digest_style()}",
        span=describe_span(report.span),
        written=format_instant(report.written),
        split=draw_split(
            report.splits, report.span, commits=report.commits[-200:], lines=report.lines
        )
        if report.splits
        else "",
        story=_take_last(report.story, detail.rows),
        runs=report.runs[: detail.rows],
        commits=_take_last(report.commits, detail.rows),
        monitors=tuple(_draw_monitors(report, detail)),
        rollouts=tuple(
            (rollout, describe_span(rollout.span), draw_stages(rollout.stages), _zoom(report, rollout))
            for rollout in report.rollouts[-5:]
        ),
        draw_gates=draw_gates,
        shorten=lambda text: shorten_text(text, detail.text),
        instant=format_instant,
        length=format_length,
    )  # fmt: skip


def _draw_monitors(
    report: Report, detail: _Detail
) -> Iterator[
    tuple[MonitorSummary, Markup, Markup | str, tuple[tuple[str, tuple[Markup, ...]], ...]]
]:
    for monitor in report.monitors[:12]:
        drift = draw_drift(
            monitor.line, report.span, commits=report.commits[-60:], most=detail.bars
        )
        effects: Markup | str = ""
        if monitor.effects:
            effects = draw_effects(
                monitor.effects, report.span, most=detail.columns, cells=detail.bars
            )
        pictures = tuple(
            (picture.title, tuple(map(draw_distribution, picture.columns[: detail.columns])))
            for picture in monitor.pictures
        )
        yield monitor, drift, effects, pictures


def _zoom(report: Report, rollout: RolloutSummary) -> Markup | str:
    """Draw the traffic of a rollout alone, where it is a small part of the report's time."""
    if rollout.span.seconds > 0.4 * report.span.seconds or rollout.span.seconds <= 0:
        return ""
    before = [split for split in report.splits if split.at <= rollout.span.began][-1:]
    within = [
        split for split in report.splits if rollout.span.began < split.at <= rollout.span.ended
    ]
    commits = [
        commit for commit in report.commits
        if rollout.span.began <= commit.at <= rollout.span.ended
    ]  # fmt: skip
    return draw_split([*before, *within], rollout.span, commits=commits) if before else ""


def _take_last(items: Sequence[StoryLine | CommitTick], most: int) -> Sequence[object]:
    return items[-most:]


def format_instant(moment: datetime) -> str:
    """Return a time as pages write it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def format_length(seconds: float | None) -> str:
    """Return a length of time in one unit; `-` when it is not known."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
