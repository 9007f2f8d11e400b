"""The last verdict, and the rows that are not judged, as metrics."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.contract.verdicts import WindowRecord, read_columns
from driftloop.services.detector.values import RowFaults

ALARMS = ("true", "false")
ROWS = ("judged", "rejected")


class VerdictMetrics:
    """Metrics of a detector's verdicts; names of columns and reasons are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._windows = Counter(
            "driftloop_detector_windows", "Windows judged", ["alarm"], registry=registry
        )
        self._rows = Counter(
            "driftloop_detector_rows",
            "Rows judged in a window, and rows rejected when they came",
            ["result"],
            registry=registry,
        )
        for alarm in ALARMS:
            self._windows.labels(alarm)
        for result in ROWS:
            self._rows.labels(result)
        self._rejected = Gauge(
            "driftloop_detector_rejected_rows",
            "Rows that are not judged, by reason, since the last verdict",
            ["reason"],
            registry=registry,
        )
        self._unreadable = Gauge(
            "driftloop_detector_unreadable_values",
            "Values that do not fit the type of their column, since the last verdict",
            ["column"],
            registry=registry,
        )
        self._unknown = Gauge(
            "driftloop_detector_unknown_values",
            "Values of columns that the training data do not have, since the last verdict",
            ["column"],
            registry=registry,
        )
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

    def count_rejected(self, rows: int) -> None:
        """Count rows that are not judged, when they come."""
        self._rows.labels("rejected").inc(rows)

    def show_faults(self, faults: RowFaults) -> None:
        """Show what was wrong with the rows since the last verdict."""
        for gauge, counts in (
            (self._rejected, faults.rejected),
            (self._unreadable, faults.unreadable),
            (self._unknown, faults.unknown),
        ):
            gauge.clear()
            for name, count in counts.items():
                gauge.labels(name).set(count)

    def count_window(self, rows: int, *, alarm: bool) -> None:
        """Count a window that was judged."""
        self._windows.labels(str(alarm).lower()).inc()
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
