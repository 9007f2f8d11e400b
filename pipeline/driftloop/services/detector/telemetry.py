"""The last verdict, and the rows that are not judged, as metrics."""

from collections import Counter as Tally
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.contract.verdicts import WindowRecord, read_columns
from driftloop.services.detector.values import RowFaults, count_name

ALARMS = ("true", "false")
ROWS = ("judged", "rejected")


class VerdictMetrics:
    """Metrics of a detector's verdicts; names of columns and reasons are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.windows = Counter(
            "driftloop_detector_windows", "Windows judged", ["alarm"], registry=registry
        )
        self._rows = Counter(
            "driftloop_detector_rows",
            "Rows judged in a window, and rows rejected when they came",
            ["result"],
            registry=registry,
        )
        for alarm in ALARMS:
            self.windows.labels(alarm)
        for result in ROWS:
            self._rows.labels(result)
        self._rejected = Counter(
            "driftloop_detector_rejected_rows",
            "Rows that are not judged, by reason",
            ["reason"],
            registry=registry,
        )
        self._unreadable = Counter(
            "driftloop_detector_unreadable_values",
            "Values that do not fit the type of their column, by column",
            ["column"],
            registry=registry,
        )
        self._unknown = Counter(
            "driftloop_detector_unknown_values",
            "Values of columns that the training data do not have, by name",
            ["column"],
            registry=registry,
        )
        self._names: dict[str, Tally[str]] = {}
        self._window = Gauge(
            "driftloop_detector_window",
            "Number of the last window of this release",
            registry=registry,
        )
        self._alarm = Gauge(
            "driftloop_detector_alarm", "1 when the last window alarmed", registry=registry
        )
        self._score = Gauge(
            "driftloop_detector_score", "Score of the last window", registry=registry
        )
        self._threshold = Gauge(
            "driftloop_detector_threshold", "Threshold of the last window", registry=registry
        )
        self._time = Gauge(
            "driftloop_detector_verdict_time_seconds",
            "Time of the last verdict, in seconds since 1970",
            registry=registry,
        )
        self._columns = Gauge(
            "driftloop_detector_column_score",
            "Score of the columns that the last verdict names, 20 at most",
            ["column"],
            registry=registry,
        )
        self._changed = Gauge(
            "driftloop_detector_columns_changed",
            "Columns that have changed by the last verdict, named or not",
            registry=registry,
        )

    def count_faults(self, faults: RowFaults) -> None:
        """Count what was wrong with the rows of an event, when it comes."""
        for reason, count in faults.rejected.items():
            self._rows.labels("rejected").inc(count)
            self._count(self._rejected, "reasons", reason, count)
        for column, count in faults.unreadable.items():
            self._count(self._unreadable, "unreadable", column, count)
        for column, count in faults.unknown.items():
            self._count(self._unknown, "unknown", column, count)

    def _count(self, counter: Counter, kind: str, name: str, count: int) -> None:
        """Count under a name, under `others` when this process has told too many."""
        told = self._names.setdefault(kind, Tally())
        before = told.copy()
        count_name(told, name, count)
        for label, total in (told - before).items():
            counter.labels(label).inc(total)

    def count_window(self, rows: int, *, alarm: bool) -> None:
        """Count a window that was judged."""
        self.windows.labels(str(alarm).lower()).inc()
        self._rows.labels("judged").inc(rows)

    def show_verdict(self, verdict: WindowRecord) -> None:
        """Show the last verdict, also when it was stored before this process began."""
        self._window.set(verdict.window)
        self._alarm.set(verdict.alarm)
        self._score.set(verdict.score)
        self._threshold.set(verdict.threshold)
        if verdict.time is not None:
            self._time.set(datetime.fromisoformat(verdict.time).timestamp())
        self._columns.clear()
        for change in read_columns(verdict.details):
            self._columns.labels(change.column).set(change.score)
        changed = verdict.details.get("changed")
        self._changed.set(changed if isinstance(changed, int) else 0)
