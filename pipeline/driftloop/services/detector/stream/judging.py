"""Judging windows in their order: each by itself, and the last ones together.

What is known of earlier windows are the counts that their stored verdicts carry. So they are as durable as
these, and whoever goes on after a stored verdict, whichever process, goes on with the same counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from driftloop.contract.distributions import DISTRIBUTIONS, write_distributions
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.verdicts import LastingRecord, WindowRecord, read_changes, read_lasting
from driftloop.contract.windows import PendingWindows
from driftloop.services.detector.detectors import (
    MOST_SHOWN,
    WindowDetector,
    WindowVerdict,
)
from driftloop.services.detector.detectors.counts import Counts
from driftloop.services.detector.detectors.lasting import LastingChange, LastingTest
from driftloop.services.detector.detectors.shapes import ColumnShapes
from driftloop.services.detector.detectors.tabular import TabularDetector
from driftloop.services.detector.rows.values import Rows
from driftloop.services.detector.stream.telemetry import format_moment
from driftloop.services.detector.stream.windows import EventWindow


@dataclass(frozen=True)
class _Counted:
    """Counts that are kept of a window."""

    counts: Counts
    since: str | None
    """Time of its first row."""


@dataclass(frozen=True)
class WindowJudgement:
    """The verdict on a window, and its counts as they are stored, if there are any."""

    verdict: WindowVerdict
    counts: str | None = None


class WindowJudge:
    """A detector, and the windows that it judged last."""

    def __init__(
        self,
        detector: WindowDetector,
        lasting: LastingTest | None = None,
        shapes: ColumnShapes | None = None,
    ) -> None:
        """`shapes` draws the columns of alarms."""
        self._detector = detector
        self._lasting = lasting
        self._shapes = shapes
        self._kept: dict[int, _Counted] = {}
        self._last: LastingRecord | None = None
        """Of the windows that were judged together; an alarm until as many are quiet."""

    def fork(self) -> "WindowJudge":
        """Return a judge that goes on from here by itself."""
        judge = WindowJudge(self._detector, self._lasting, self._shapes)
        judge._kept, judge._last = dict(self._kept), self._last
        return judge

    @property
    def remembers(self) -> int:
        """Earlier windows that a judgement depends on."""
        return max(0, self._lasting.most_windows - 1) if self._lasting is not None else 0

    def describe(self) -> Iterator[str]:
        """Yield what a person should know of windows that are judged together, a line each."""
        if self._lasting is not None:
            yield from self._lasting.describe()

    def find_pending(self, number: int) -> PendingWindows | None:
        """Return which windows are judged together next while the one of a number is open; None: windows are
        judged one by one."""
        due = self._lasting.find_next(number) if self._lasting is not None else None
        if due is None:
            return None
        last, windows = due
        known = sum(each in self._kept for each in range(last - windows + 1, number))
        return PendingWindows(window=last, windows=windows, known=known)

    def recall_windows(self, records: Iterable[WindowRecord]) -> int:
        """Take the last stored verdicts of the release in place of what was judged; return how many of them
        count: those that carry the counts of this reference."""
        self._kept.clear()
        self._last = None
        for record in records:
            self._last = read_lasting(record.details)
            counts = self._read_counts(record.counts)
            if counts is not None:
                since = record.details.get("from")
                self._kept[record.window] = _Counted(
                    counts, since if isinstance(since, str) else None
                )
        return len(self._kept)

    def judge_window(self, window: EventWindow) -> WindowJudgement:
        """Judge the next window; an alarm tells what the columns that changed look like."""
        judged = self._judge_rows(window)
        verdict = judged.verdict
        if self._shapes is None or not verdict.alarm:
            return judged
        names = [change.column for change in read_changes(verdict.details)]
        shapes = write_distributions(self._shapes.compare(names, window.rows))
        details = {**verdict.details, DISTRIBUTIONS: shapes} if shapes else verdict.details
        return replace(judged, verdict=replace(verdict, details=details))

    def _judge_rows(self, window: EventWindow) -> WindowJudgement:
        if self._lasting is None or not self._lasting.scales:
            return WindowJudgement(self._detector.score_window(window.rows))
        fine = self._lasting.grid.finder.count_rows(window.rows)
        counts = self._lasting.grid.join_cells(fine)
        verdict = (
            self._detector.score_counted(window.rows, fine)
            if isinstance(self._detector, TabularDetector)
            else self._detector.score_window(window.rows)
        )
        since = format_moment(window.since) if window.since else None
        self._kept[window.number] = _Counted(counts, since)
        changes = [
            self._lasting.test_windows([each.counts for each in last])
            for number in self._lasting.list_due(window.number)
            if (last := self._find_last(window.number, number))
        ]
        change = _choose_change(changes)
        if change is not None and self._replaces_last(change):
            self._last = self._make_record(change, window)
        self._kept.pop(window.number - self._lasting.most_windows + 1, None)
        if self._last is not None:
            details = {**verdict.details, "lasting": to_json(self._last)}
            verdict = replace(verdict, details=details)
        if change is not None and change.alarm:
            verdict = _join_change(verdict, change)
        return WindowJudgement(verdict, self._lasting.grid.write_counts(counts))

    def _read_counts(self, text: str | None) -> Counts | None:
        if text is None or self._lasting is None:
            return None
        return self._lasting.grid.read_counts(text)

    def _find_last(self, number: int, count: int) -> list[_Counted]:
        """Return the last windows up to a number; none when one of them is not known."""
        last = [self._kept.get(n) for n in range(number - count + 1, number + 1)]
        known = [each for each in last if each is not None]
        return known if len(known) == count else []

    def _replaces_last(self, change: LastingChange) -> bool:
        last = self._last
        return change.alarm or last is None or not last.alarm or change.windows >= last.windows

    def _make_record(self, change: LastingChange, window: EventWindow) -> LastingRecord:
        return LastingRecord(
            alarm=change.alarm,
            window=window.number,
            windows=change.windows,
            rows=change.rows,
            score=change.score,
            since=self._kept[window.number - change.windows + 1].since,
            until=format_moment(window.until) if window.until else None,
            columns=change.columns[:MOST_SHOWN],
        )


def _choose_change(changes: Sequence[LastingChange]) -> LastingChange | None:
    """Return the alarm that is the most certain; without one, what most windows say."""
    alarms = [change for change in changes if change.alarm]
    if alarms:
        return max(alarms, key=lambda change: change.score)
    return changes[-1] if changes else None


def _join_change(verdict: WindowVerdict, change: LastingChange) -> WindowVerdict:
    """Return the verdict with an alarm of the last windows: their columns, and others that the window names."""
    named = {column.column for column in change.columns}
    own = verdict.details["columns"] if verdict.alarm else []
    others = [column for column in own if column["column"] not in named]
    columns = [*map(to_json, change.columns), *others][:MOST_SHOWN]
    changed = verdict.details["changed"] + len(named) - (len(own) - len(others))
    return replace(
        verdict,
        alarm=True,
        score=max(verdict.score, change.score),
        details={**verdict.details, "columns": columns, "changed": changed},
        lasting=change.windows,
    )


def build_judge(
    detector: WindowDetector,
    config: DetectorSettings,
    reference: Rows,
    profile: TableProfile | None = None,
) -> WindowJudge:
    """Return the judge of a detector that is fitted to the reference rows; with their profile, alarms tell
    what the columns look like."""
    drawn = profile is not None and profile.of != "labelled"
    shapes = ColumnShapes(profile, reference) if profile is not None and drawn else None
    if not isinstance(detector, TabularDetector):
        return WindowJudge(detector, shapes=shapes)
    return WindowJudge(detector, detector.build_lasting(config, reference), shapes)
