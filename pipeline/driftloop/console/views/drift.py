"""Drift: columns by their effect over time, and one window in full."""

from dataclasses import dataclass, replace
from typing import Any

from driftloop.console.snapshot import Snapshot
from driftloop.console.views.loop import find_place
from driftloop.contract.distributions import read_distributions
from driftloop.contract.verdicts import (
    ColumnChange,
    WindowRecord,
    read_columns,
    read_failure,
    read_lasting,
)
from driftloop.operations.runs.run_store import ListedRun
from driftloop.operations.stories.story_windows import draw_from
from driftloop.operations.watching.verdict_windows import JudgedWindow
from driftloop.pages.figures import ColumnDistribution, ColumnEffect, WindowPoint


@dataclass(frozen=True)
class MonitorChoice:
    """A monitor that can be looked at."""

    name: str
    windows: int
    alarms: int
    chosen: bool


@dataclass(frozen=True)
class WindowDetail:
    """A window in words."""

    window: WindowRecord
    sequence: int
    span: str
    columns: tuple[ColumnChange, ...]
    failure: str
    lasting: str
    facts: tuple[tuple[str, str], ...]
    run: ListedRun | None
    """Run that its alarm has caused."""
    before: int | None
    """Sequence of the window before it; None without one."""
    after: int | None
    distributions: tuple[ColumnDistribution, ...] = ()
    """What its columns looked like, in the training data and in the window."""


def list_monitors(snapshot: Snapshot, name: str, wanted: str) -> tuple[MonitorChoice, ...]:
    """Return the monitors that have judged windows; the wanted one is chosen, else one that alarms,
    else the first."""
    windows = snapshot.find_windows(name)
    known = sorted({*windows, *snapshot.find_verdicts(name)})
    loud = [each for each in known if windows.get(each) and windows[each][-1].alarm]
    chosen = wanted if wanted in known else (loud or known or [""])[0]
    return tuple(
        MonitorChoice(
            each,
            len(windows.get(each, ())),
            sum(window.alarm for window in windows.get(each, ())),
            each == chosen,
        )
        for each in known
    )


def list_effects(
    windows: tuple[JudgedWindow, ...], points: tuple[WindowPoint, ...]
) -> tuple[ColumnEffect, ...]:
    """Return the effects of columns in each window; a monitor of labels has none."""
    places = {point.href: point for point in points}
    effects = []
    for window in windows:
        point = places.get(find_place(window))
        if point is None or window.quality is not None:
            continue
        # cells are many, and on the page that they lead to: the query is enough
        point = replace(point, href=point.href[point.href.index("?") :])
        effects += [
            ColumnEffect(
                column.name,
                point,
                min(abs(column.effect), 1.0),
                column.alarm,
                f"effect {column.effect:.2g}",
            )
            for column in window.columns
        ]
    return tuple(effects)


def describe_window(
    snapshot: Snapshot, name: str, record: WindowRecord, sequence: int
) -> WindowDetail:
    """Return a window in words, with what its alarm led to."""
    details = record.details
    lasting = read_lasting(details)
    windows = snapshot.find_windows(name).get(record.detector, ())
    own = [window.sequence for window in windows]
    place = own.index(sequence) if sequence in own else None
    return WindowDetail(
        window=record,
        sequence=sequence,
        span=f"{details.get('from') or '?'} to {details.get('to') or record.time or '?'}",
        columns=read_columns(details),
        failure=read_failure(details),
        lasting=lasting.describe(5) if lasting is not None and lasting.alarm else "",
        facts=tuple(_list_facts(record, details)),
        run=_find_run(snapshot, name, record),
        before=own[place - 1] if place else None,
        after=own[place + 1] if place is not None and place + 1 < len(own) else None,
        distributions=_list_distributions(details),
    )


def _list_distributions(details: dict[str, Any]) -> tuple[ColumnDistribution, ...]:
    texts = {change.column: change.text for change in read_columns(details)}
    stored = read_distributions(details)
    return tuple(draw_from(each, texts.get(each.column, "")) for each in stored)


def _list_facts(record: WindowRecord, details: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("release", record.release),
        ("rows judged", str(record.size)),
        ("score", f"{record.score:.4g} against {record.threshold:.4g}"),
    ]
    for key, word in (("rejected", "rows not judged"), ("repeated", "rows that came before")):
        if details.get(key):
            facts.append((word, str(details[key])))
    if details.get("closedBy"):
        facts.append(("closed", "by time" if details["closedBy"] == "time" else "when it was full"))
    return facts


def _find_run(snapshot: Snapshot, name: str, record: WindowRecord) -> ListedRun | None:
    """Return the run that the alarms of a window and its neighbours have caused."""
    for run in snapshot.find_runs(name):
        alarm = run.report.alarm
        if alarm is None or (alarm.monitor, alarm.release) != (record.detector, record.release):
            continue
        if alarm.first <= record.window <= alarm.last:
            return run
    return None
