"""The overview: every pipeline in one line, what needs a person first."""

from dataclasses import dataclass
from datetime import UTC, datetime

from driftloop.console.snapshot import AnswerRate, Snapshot
from driftloop.console.views.needs import LEVELS, Need, NeedLevel, find_level, list_needs
from driftloop.console.views.times import format_ago, read_moment
from driftloop.operations.watching.status import ReleaseStatus, RunStatus


@dataclass(frozen=True)
class MonitorMark:
    """A monitor in one word."""

    name: str
    word: str
    """`quiet`, `alarm`, `not judged`."""
    level: float
    """Its score in thresholds."""
    text: str


@dataclass(frozen=True)
class OverviewRow:
    """A pipeline in one line."""

    name: str
    level: NeedLevel
    phase: str
    summary: str
    release: ReleaseStatus | None
    age: str
    """How long production has been production."""
    rate: AnswerRate | None
    monitors: tuple[MonitorMark, ...]
    run: str
    """The last run and how it ended, in words."""
    needs: tuple[Need, ...]


def build_rows(snapshot: Snapshot, now: datetime) -> tuple[OverviewRow, ...]:
    """Return the pipelines, those that need somebody first."""
    rows = [_build_row(snapshot, name, now) for name in snapshot.names]
    return tuple(sorted(rows, key=lambda row: (LEVELS.index(row.level), -len(row.needs), row.name)))


def count_levels(rows: tuple[OverviewRow, ...]) -> dict[NeedLevel, int]:
    """Return how many pipelines there are of each level."""
    return {level: sum(row.level == level for row in rows) for level in LEVELS}


def _build_row(snapshot: Snapshot, name: str, now: datetime) -> OverviewRow:
    release = snapshot.find_release(name)
    needs = list_needs(snapshot, name)
    return OverviewRow(
        name=name,
        level=find_level(needs),
        phase=snapshot.find_phase(name),
        summary=snapshot.find_summary(name),
        release=release,
        age=describe_age(snapshot, name, now),
        rate=snapshot.find_rate(name, release.production if release is not None else None),
        monitors=list_monitors(snapshot, name),
        run=describe_run(snapshot.find_last_run(name), now),
        needs=needs,
    )


def describe_age(snapshot: Snapshot, name: str, now: datetime) -> str:
    """Say since when production is production; empty when it is not known."""
    release, committed = snapshot.find_release(name), snapshot.find_committed(name)
    if release is None or release.production is None or committed is None:
        return ""
    since = None
    for commit in committed.commits:
        if commit.stand.production != release.production:
            break
        since = datetime.fromtimestamp(commit.logged.at, UTC)
    return format_ago(since, now) if since is not None else ""


def list_monitors(snapshot: Snapshot, name: str) -> tuple[MonitorMark, ...]:
    """Return the monitors of a pipeline as their last verdicts say."""
    marks = []
    for monitor, verdict in sorted(snapshot.find_verdicts(name).items()):
        level = 0.0
        if verdict.score is not None and verdict.threshold:
            level = max(0.0, verdict.score / verdict.threshold)
        word = "not judged" if verdict.failure else "alarm" if verdict.alarm else "quiet"
        text = verdict.failure or verdict.changes or verdict.lasting
        marks.append(MonitorMark(monitor, word, level, text))
    return tuple(marks)


def describe_run(run: RunStatus | None, now: datetime) -> str:
    """Say how the last run stands; empty without one."""
    if run is None:
        return ""
    if run.outcome is not None:
        kind = run.outcome.kind.replace("-", " ")
        return f"{kind} {format_ago(read_moment(run.outcome.time), now)}"
    if run.rollout is not None:
        return "in its rollout"
    return run.phase.lower()
