"""Story of a time by the verdicts of a pipeline's monitors: windows, columns that moved, and what these look like."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from driftloop.clients import cancellation
from driftloop.clients.nats import open_connection, read_stored
from driftloop.contract.distributions import StoredDistribution, read_distributions
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.streams import UNJUDGED, VERDICTS, verdict_subjects
from driftloop.contract.verdicts import (
    WindowRecord,
    describe_verdict,
    read_changes,
    read_columns,
    read_failure,
)
from driftloop.pages.figures import (
    ColumnDistribution,
    ColumnEffect,
    DistributionBin,
    MonitorLine,
    QualityLine,
    WindowPoint,
)
from driftloop.pages.levels import measure_level, scores_p_values
from driftloop.pages.reports import MonitorSummary, StoryLine, WindowPicture
from driftloop.spec.model import Spec
from driftloop.text.words import count_noun

MOST_WINDOWS = 3000
"""Newest windows of a story; of more, the earlier ones are left out."""
MOST_CHANGES = 5
MOST_PICTURES = 2
"""Windows of a monitor that are shown with their distributions."""


@dataclass(frozen=True)
class WindowStory:
    """The windows of a time by monitor, the oldest first."""

    windows: Mapping[str, tuple[WindowRecord, ...]]
    notes: tuple[str, ...] = ()


def read_story(
    url: str, namespace: str, pipeline: str, since: str | None, release: str | None = None
) -> WindowStory:
    """Read the stored verdicts of a pipeline since a time, of one release or of all; StoreError when NATS is
    away."""
    records = cancellation.run(_read_records(url, verdict_subjects(namespace, pipeline)))
    wanted = [
        record
        for record in records
        if record.time is not None
        and (since is None or record.time >= since)
        and release in (None, record.release)
    ]
    wanted.sort(key=lambda record: (record.time or "", record.window))
    notes: tuple[str, ...] = ()
    if len(wanted) > MOST_WINDOWS:
        notes = (f"windows before the newest {MOST_WINDOWS} of {len(wanted)} are left out",)
    by_monitor: dict[str, list[WindowRecord]] = {}
    for record in wanted[-MOST_WINDOWS:]:
        by_monitor.setdefault(record.detector, []).append(record)
    return WindowStory({name: tuple(found) for name, found in by_monitor.items()}, notes)


async def _read_records(url: str, subject: str) -> list[WindowRecord]:
    records = []
    async with open_connection(url, name="driftloop-report") as js:
        async for message in read_stored(js, VERDICTS.name, subject):
            if message.subject.endswith(f".{UNJUDGED}"):
                continue
            try:
                records.append(
                    WindowRecord.read(parse_json(message.data, label="the stored verdict"))
                )
            except DocumentError:
                continue
    return records


def list_monitors(story: WindowStory, spec: Spec | None) -> tuple[MonitorSummary, ...]:
    """Return what each monitor saw; of the spec its detector, where it still has the monitor."""
    return tuple(_summarize(name, records, spec) for name, records in story.windows.items())


def _summarize(name: str, records: Sequence[WindowRecord], spec: Spec | None) -> MonitorSummary:
    monitor = spec.monitors.get(name) if spec is not None else None
    detector = monitor.detector if monitor is not None else "monitor"
    p_value = scores_p_values(detector, records)
    windows = [_make_point(record, p_value=p_value) for record in records]
    effects = tuple(
        ColumnEffect(change.column, window, change.effect, change.alarm, change.text)
        for record, window in zip(records, windows, strict=True)
        for change in read_columns(record.details)
        if change.kind != "quality"
    )
    return MonitorSummary(
        MonitorLine(name, detector, tuple(windows)),
        effects,
        tuple(_list_pictures(records)),
        _describe_alarms(records),
    )


def _make_point(record: WindowRecord, *, p_value: bool) -> WindowPoint:
    began = record.details.get("from")
    text = read_failure(record.details) or describe_verdict(record.details, MOST_CHANGES)
    return WindowPoint(
        at=datetime.fromisoformat(record.time or ""),
        number=record.window,
        level=measure_level(record.score, record.threshold, alarm=record.alarm, p_value=p_value),
        alarm=record.alarm,
        text=f"release {record.release}{f': {text}' if text else ''}",
        began=datetime.fromisoformat(began) if isinstance(began, str) else None,
    )


def _describe_alarms(records: Sequence[WindowRecord]) -> str:
    alarms = [record for record in records if record.alarm]
    if not alarms:
        return f"No alarm in {count_noun(len(records), 'window')}."
    last = alarms[-1]
    changes = describe_verdict(last.details, MOST_CHANGES)
    told = f": {changes}" if changes else ""
    return (
        f"{count_noun(len(alarms), 'alarm')} in {count_noun(len(records), 'window')}; the last one in window "
        f"{last.window} of {last.release}{told}."
    )


def _list_pictures(records: Sequence[WindowRecord]) -> Iterator[WindowPicture]:
    """Yield the windows whose columns are drawn: the last alarms of each release, the newest first."""
    shown = [record for record in records if record.alarm and read_distributions(record.details)]
    newest = {record.release: record for record in shown}
    for record in list(newest.values())[::-1][:MOST_PICTURES]:
        texts = {change.column: change.text for change in read_changes(record.details)}
        columns = tuple(
            draw_from(stored, texts.get(stored.column, ""))
            for stored in read_distributions(record.details)
        )
        title = f"Window {record.window} of {record.release} beside the reference data"
        yield WindowPicture(title, columns)


def draw_from(stored: StoredDistribution, text: str) -> ColumnDistribution:
    """Return a stored distribution as charts draw it."""
    return ColumnDistribution(
        column=stored.column,
        type=stored.type,
        bins=tuple(
            DistributionBin(label, before, after)
            for label, before, after in zip(stored.labels, stored.before, stored.after, strict=True)
        ),
        missing=(stored.missing_before, stored.missing_after),
        text=text,
        upper=stored.upper,
    )


def list_qualities(story: WindowStory) -> tuple[QualityLine, ...]:
    """Return measures of labelled answers that are shares, such as the accuracy."""
    lines: dict[str, list[tuple[datetime, float]]] = {}
    for records in story.windows.values():
        for record in records:
            at = datetime.fromisoformat(record.time or "")
            for change in read_columns(record.details):
                if change.is_quality_share:
                    name = f"{change.column} {change.of}".strip()
                    lines.setdefault(name, []).append((at, change.after))
    return tuple(QualityLine(name, tuple(points)) for name, points in lines.items())


def tell_windows(story: WindowStory) -> Iterator[StoryLine]:
    """Yield a sentence for the first of each row of alarms, and one for the window that ends it."""
    for name, records in story.windows.items():
        for (release, alarm), group in groupby(
            records, key=lambda each: (each.release, each.alarm)
        ):
            found = list(group)
            if not alarm:
                continue
            first, last = found[0], found[-1]
            changes = describe_verdict(first.details, MOST_CHANGES)
            told = f": {changes}" if changes else ""
            more = (
                f" So did the next {count_noun(len(found) - 1, 'window')}, up to {last.window}."
                if last is not first
                else ""
            )
            yield StoryLine(
                datetime.fromisoformat(first.time or ""),
                f"{name} raised an alarm in window {first.window} of {release}{told}.{more}",
                kind="bad",
            )
