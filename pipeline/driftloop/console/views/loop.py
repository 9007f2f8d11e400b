"""The loop of a pipeline as stations with their live state, and everything on one time axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from driftloop.console.snapshot import Snapshot
from driftloop.console.source import MOST_COMMITS, CommittedState, WeighedCommit
from driftloop.console.views.overview import describe_age, list_monitors
from driftloop.console.views.places import HOME
from driftloop.console.views.times import choose_span, read_moment
from driftloop.local.ground.sentences import describe_cause
from driftloop.operations.commits.commit_kinds import ReleaseStand, find_commit_kind
from driftloop.operations.commits.releases import was_applied
from driftloop.operations.runs.run_store import ListedRun
from driftloop.operations.watching.verdict_windows import JudgedWindow
from driftloop.pages.figures import (
    CommitTick,
    MonitorLine,
    QualityLine,
    TimeSpan,
    TrafficSplit,
    WindowPoint,
)
from driftloop.pages.levels import measure_level, scores_p_values
from driftloop.text.words import count_noun

StationState = Literal["calm", "busy", "alarm", "off"]

TRAINING = ("pending", "running", "evaluating")


@dataclass(frozen=True)
class Station:
    """A part of the loop, and what it does now."""

    name: str
    state: StationState
    text: str
    href: str


@dataclass(frozen=True)
class RunBar:
    """A run on the time axis, in percent from left."""

    run: str
    left: float
    width: float
    kind: str
    """How it ended, or `running`."""
    text: str


@dataclass(frozen=True)
class TimeAxis:
    """Everything of a pipeline over time."""

    span: TimeSpan
    splits: tuple[TrafficSplit, ...]
    commits: tuple[CommitTick, ...]
    lines: tuple[QualityLine, ...]
    monitors: tuple[MonitorLine, ...]
    runs: tuple[RunBar, ...]


def list_stations(snapshot: Snapshot, name: str, now: datetime) -> tuple[Station, ...]:
    """Return the stations of the loop in the order in which it turns."""
    home = f"{HOME}/{name}"
    return (
        _describe_production(snapshot, name, now),
        _describe_monitors(snapshot, name),
        _describe_decision(snapshot, name),
        _describe_training(snapshot, name),
        _describe_rollout(snapshot, name),
        _describe_git(snapshot, name, home),
    )


def _describe_production(snapshot: Snapshot, name: str, now: datetime) -> Station:
    release = snapshot.find_release(name)
    href = f"{HOME}/{name}/releases"
    if release is None or release.production is None:
        return Station("Production", "off", "no release yet", href)
    rate = snapshot.find_rate(name, release.production)
    text = f"{release.production}, {describe_age(snapshot, name, now)}".rstrip(", ")
    if rate is not None:
        text += f"; {rate.per_second:.1f} answers/s"
        if rate.failed:
            text += f", {100 * rate.failed:.2g} % failed"
    return Station(
        "Production", "alarm" if rate is not None and rate.failed else "calm", text, href
    )


def _describe_monitors(snapshot: Snapshot, name: str) -> Station:
    marks = list_monitors(snapshot, name)
    href = f"{HOME}/{name}/drift"
    loud = [mark.name for mark in marks if mark.word != "quiet"]
    if loud:
        return Station("Monitors", "alarm", f"{', '.join(loud)} of {len(marks)}", href)
    text = f"{count_noun(len(marks), 'monitor')} quiet" if marks else "no verdict yet"
    return Station("Monitors", "calm" if marks else "off", text, href)


def _describe_decision(snapshot: Snapshot, name: str) -> Station:
    phase, summary = snapshot.find_phase(name), snapshot.find_summary(name)
    state: StationState = "off" if not phase else "calm"
    if phase in ("halted", "waiting", "held"):
        state = "alarm"
    elif phase in ("pending", "postponed"):
        state = "busy"
    return Station("Decision", state, summary or phase or "not known", f"{HOME}/{name}#why")


def _describe_training(snapshot: Snapshot, name: str) -> Station:
    phase = snapshot.find_phase(name)
    runs = snapshot.find_runs(name)
    going = next((run for run in runs if run.phase == "running"), None)
    if going is not None:
        steps = [step.name for step in going.report.steps if step.finished is None]
        text = f"{going.report.run}{f': {steps[-1]}' if steps else ''}"
        return Station("Training", "busy", text, f"/runs/{going.report.run}")
    if phase in TRAINING:
        return Station("Training", "busy", snapshot.find_summary(name), f"{HOME}/{name}/runs")
    last = runs[0] if runs else None
    text = f"last run {last.phase}" if last is not None else "no run yet"
    return Station("Training", "calm" if last is not None else "off", text, f"{HOME}/{name}/runs")


def _describe_rollout(snapshot: Snapshot, name: str) -> Station:
    release, href = snapshot.find_release(name), f"{HOME}/{name}/rollout"
    if release is None or release.candidate is None:
        return Station("Rollout", "off", "no candidate", href)
    share = release.weights.get(release.candidate, 0)
    how = f"{share} % of the answers" if share else "in shadow"
    return Station("Rollout", "busy", f"{release.candidate}: {how}", href)


def _describe_git(snapshot: Snapshot, name: str, home: str) -> Station:
    status, committed = snapshot.status, snapshot.find_committed(name)
    last = (
        committed.commits[0].logged.commit if committed is not None and committed.commits else None
    )
    text = f"{last.sha[:10]} {last.subject}" if last is not None else "no commit of a release yet"
    behind = status is not None and status.tip != status.applied
    state: StationState = (
        "alarm" if status is not None and status.refused else "busy" if behind else "calm"
    )
    return Station("Git", state, text, f"{home}/releases")


def build_axis(snapshot: Snapshot, name: str, wanted: str, now: datetime) -> TimeAxis:
    """Return everything of a pipeline over the wanted time."""
    committed = snapshot.find_committed(name)
    windows = snapshot.find_windows(name)
    runs = snapshot.find_runs(name)
    detectors = committed.detectors if committed is not None else {}
    moments = [
        moment for each in windows.values() for one in each if (moment := read_moment(one.time))
    ]
    moments += [moment for run in runs if (moment := read_moment(run.report.started))]
    if committed is not None:
        moments += [_read_commit_time(each) for each in committed.commits]
    span = choose_span(wanted, moments, now)
    return TimeAxis(
        span,
        _list_splits(committed, span),
        list_ticks(committed, span),
        tuple(_list_lines(windows, span)),
        tuple(
            MonitorLine(
                monitor,
                detectors.get(monitor, "monitor"),
                list_points(each, detectors.get(monitor, "")),
            )
            for monitor, each in sorted(windows.items())
        ),
        tuple(_draw_runs(runs, span, now)),
    )


def list_ticks(committed: CommittedState | None, span: TimeSpan) -> tuple[CommitTick, ...]:
    """Return the commits of a pipeline's release within a time, the oldest first."""
    if committed is None:
        return ()
    ticks = []
    applied = _list_applied(committed)
    # of a history that is cut off, the first one shows only what was before the second
    befores = [None if len(committed.commits) < MOST_COMMITS else applied[0], *applied]
    for before, each in zip(befores, applied, strict=False):
        stand = before.stand if before is not None else ReleaseStand()
        kind, _ = find_commit_kind(each.logged.trailers, stand, each.stand)
        sha = each.logged.commit.sha
        ticks.append(
            CommitTick(
                at=_read_commit_time(each),
                sha=sha,
                subject=each.logged.commit.subject,
                kind=kind,
                why=describe_cause(each.logged.trailers.get("Driftloop-Cause", "")),
                href=f"/commits/{sha}",
            )
        )
    return tuple(tick for tick in ticks if span.began <= tick.at <= span.ended)


def _list_applied(committed: CommittedState) -> list[WeighedCommit]:
    """Return the commits that were applied, the oldest first."""
    commits = reversed(committed.commits)
    return [each for each in commits if was_applied(each.logged)]


def _read_commit_time(commit: WeighedCommit) -> datetime:
    return datetime.fromtimestamp(commit.logged.at, UTC)


def _list_splits(committed: CommittedState | None, span: TimeSpan) -> tuple[TrafficSplit, ...]:
    if committed is None:
        return ()
    splits = [
        TrafficSplit(
            _read_commit_time(each),
            each.stand.weights,
            each.stand.candidate if each.stand.phase == "shadow" else None,
        )
        for each in _list_applied(committed)
    ]
    before = [split for split in splits if split.at < span.began]
    return (*before[-1:], *(split for split in splits if split.at >= span.began))


def _list_lines(windows: dict[str, tuple[JudgedWindow, ...]], span: TimeSpan) -> list[QualityLine]:
    lines = []
    for monitor, each in sorted(windows.items()):
        points = tuple(
            (moment, one.quality)
            for one in each
            if one.quality is not None
            and (moment := read_moment(one.time))
            and moment >= span.began
        )
        if points:
            lines.append(QualityLine(f"right answers ({monitor})", points))
    return lines


def list_points(windows: Sequence[JudgedWindow], detector: str) -> tuple[WindowPoint, ...]:
    """Return the windows of a monitor on the time axis."""
    p_value = scores_p_values(detector, windows)
    return tuple(
        point for window in windows if (point := _build_point(window, p_value=p_value)) is not None
    )


def _build_point(window: JudgedWindow, *, p_value: bool) -> WindowPoint | None:
    moment = read_moment(window.time)
    if moment is None:
        return None
    moved = ", ".join(column.name for column in window.columns if column.alarm)
    word = "alarm" if window.alarm else "not judged" if window.failed else "quiet"
    score = f"score {window.score:.4g} against {window.threshold:.4g}"
    return WindowPoint(
        at=moment,
        number=window.window,
        level=measure_level(window.score, window.threshold, alarm=window.alarm, p_value=p_value),
        alarm=window.alarm,
        text=f"{word}, {score}{f': {moved}' if moved else ''}",
        began=read_moment(window.since),
        href=find_place(window),
    )


def find_place(window: JudgedWindow) -> str:
    """Return the page of a window."""
    home = f"{HOME}/{window.pipeline}/drift"
    return f"{home}?monitor={window.monitor}&window={window.sequence}#window"


def _draw_runs(runs: Sequence[ListedRun], span: TimeSpan, now: datetime) -> list[RunBar]:
    bars = []
    for run in runs:
        report = run.report
        began = read_moment(report.started)
        ended = read_moment(report.finished) or now
        if began is None or ended < span.began or began > span.ended:
            continue
        left, right = span.find_place(began), span.find_place(ended)
        text = f"{report.run}: {report.outcome.text if report.outcome is not None else run.phase}"
        bars.append(RunBar(report.run, left, max(right - left, 0.5), run.phase, text))
    return bars
