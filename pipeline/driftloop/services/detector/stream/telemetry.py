"""The last verdict, the open window, and the rows that are not judged, as metrics."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.labels import LabelCounts
from driftloop.contract.quality import MEASURES, Figures, read_estimate, read_figures, read_slices
from driftloop.contract.times import SECOND, format_time
from driftloop.contract.verdicts import WindowRecord, read_columns, read_failure, read_lasting
from driftloop.contract.windows import OpenWindow, PendingWindows
from driftloop.services.detector.rows.values import LONGEST_NAME, RowFaults
from driftloop.services.detector.stream.windows import WindowCutter, WindowRule

ALARMS = ("true", "false", "unknown")
ROWS = ("judged", "rejected", "repeated", "failed")


class VerdictMetrics:
    """Metrics of a detector's verdicts; names of columns and reasons are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._windows = Counter(
            "driftloop_detector_windows",
            "Windows judged, and those that the user's function failed on (unknown)",
            ["alarm"],
            registry=registry,
        )
        self._rows = Counter(
            "driftloop_detector_rows",
            "Rows judged in a window, or in one that the user's function failed on; rows rejected, and "
            "rows that came before, when they came",
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
            "driftloop_detector_alarm",
            "1 when the last window alarmed, or a change lasts",
            registry=registry,
        )
        self._lasting = Gauge(
            "driftloop_detector_lasting_windows",
            "Windows over which a change lasts that they show together; 0 without one",
            registry=registry,
        )
        self._failed = Gauge(
            "driftloop_detector_failed",
            "1 when the user's function failed on the last window, which is not judged",
            registry=registry,
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
            "Score of the columns that the last verdict names, or the change that lasts, 20 at most",
            ["column"],
            registry=registry,
        )
        self._effects = Gauge(
            "driftloop_detector_column_effect",
            "How far these columns have moved, as a share of the rows",
            ["column"],
            registry=registry,
        )
        self._quality = Gauge(
            "driftloop_detector_window_quality",
            "How good the answers of the last window are, and those to held-out rows (of: window, heldout)",
            ["measure", "of"],
            registry=registry,
        )
        self._estimate = Gauge(
            "driftloop_detector_estimated_quality",
            "How good the answers of the last window are estimated to be without labels, and those to held-out rows (of: "
            "window, heldout)",
            ["measure", "of"],
            registry=registry,
        )
        self._slices = Gauge(
            "driftloop_detector_slice_quality",
            "How good the answers of the last window are to requests with a value in a column, 20 slices at most",
            ["column", "value", "measure", "of"],
            registry=registry,
        )
        self._slice_rows = Gauge(
            "driftloop_detector_slice_rows",
            "Labelled rows of the last window with a value in a column, 20 slices at most",
            ["column", "value"],
            registry=registry,
        )
        self._changed = Gauge(
            "driftloop_detector_columns_changed",
            "Columns that have changed by the last verdict or the change that lasts, named or not",
            registry=registry,
        )

    def count_left_out(self, rejected: int, repeated: int) -> None:
        """Count rows that are not judged, when they come."""
        self._rows.labels("rejected").inc(rejected)
        self._rows.labels("repeated").inc(repeated)

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

    def count_window(self, rows: int, *, alarm: bool, failed: bool = False) -> None:
        """Count a window that was judged, or that the user's function failed on."""
        self._windows.labels("unknown" if failed else str(alarm).lower()).inc()
        self._rows.labels("failed" if failed else "judged").inc(rows)

    def show_verdict(self, verdict: WindowRecord) -> None:
        """Show the last verdict, also when it was stored before this process began."""
        self._window.set(verdict.window)
        lasting = read_lasting(verdict.details)
        lasts = lasting if lasting is not None and lasting.alarm else None
        self._alarm.set(verdict.alarm or lasts is not None)
        self._lasting.set(0 if lasts is None else lasts.windows)
        self._failed.set(bool(read_failure(verdict.details)))
        self._score.set(verdict.score)
        self._threshold.set(verdict.threshold)
        if verdict.time is not None:
            self._time.set(datetime.fromisoformat(verdict.time).timestamp())
        self._columns.clear()
        self._effects.clear()
        own, changed = read_columns(verdict.details), verdict.details.get("changed")
        if lasts is not None and not verdict.alarm:
            own, changed = lasts.columns, len(lasts.columns)
        for change in own:
            self._columns.labels(change.column).set(change.score)
            self._effects.labels(change.column).set(change.effect)
        self._changed.set(changed if isinstance(changed, int) else 0)
        self._show_quality(verdict)

    def _show_quality(self, verdict: WindowRecord) -> None:
        for gauge in (self._quality, self._estimate, self._slices, self._slice_rows):
            gauge.clear()
        estimate = read_estimate(verdict.details)
        for measure, of, value in _list_figures(estimate.figures if estimate is not None else {}):
            self._estimate.labels(measure, of).set(value)
        for measure, of, value in _list_figures(read_figures(verdict.details)):
            self._quality.labels(measure, of).set(value)
        slices = read_slices(verdict.details)
        for each in slices.slices if slices is not None else ():
            name = each.value[:LONGEST_NAME]
            self._slice_rows.labels(each.column, name).set(each.rows)
            for measure, of, value in _list_figures(each.figures):
                self._slices.labels(each.column, name, measure, of).set(value)


def _list_figures(figures: Figures) -> Iterator[tuple[str, str, float]]:
    """Yield measure, rows and value of the figures that are metrics."""
    for name, (before, after) in figures.items():
        if name in MEASURES:
            yield MEASURES[name], "heldout", before
            yield MEASURES[name], "window", after


class OpenWindowMetrics:
    """The window that is not closed yet, as metrics and as a record."""

    def __init__(
        self,
        registry: CollectorRegistry,
        settings: DetectorSettings,
        release: str,
        find_pending: Callable[[int], PendingWindows | None],
    ) -> None:
        self._settings = settings
        self._find_pending = find_pending
        self._rule = rule = WindowRule.from_settings(settings)
        self._release = release
        self._pace: float | None = None
        self._labels: LabelCounts | None = None
        self._quality = _build_quality(registry) if settings.on == "label" else {}
        self.order: str | None = None
        """What the fit learnt of the training data's order, in words."""
        self._traffic = Gauge(
            "driftloop_detector_traffic_rows_per_second",
            "Rows a second that were judged, over weeks; 0 before there is an hour of them",
            registry=registry,
        )
        self._expected = Gauge(
            "driftloop_detector_expected_false_alarms",
            "False alarms in 30 days by the budget, at that traffic; NaN without one",
            registry=registry,
        )
        Gauge(
            "driftloop_detector_waiting_rows",
            "Rows of the window that is not closed yet",
            registry=registry,
        ).set_function(lambda: float(self._cutter.waiting))
        Gauge(
            "driftloop_detector_waiting_since_seconds",
            "Time of the first of them, in seconds since 1970; 0 without one",
            registry=registry,
        ).set_function(lambda: self._cutter.since / SECOND)
        Gauge(
            "driftloop_detector_waiting_due_seconds",
            "Time from which the window closes with its least rows, in seconds since 1970; 0 when no "
            "time closes it",
            registry=registry,
        ).set_function(lambda: self._find_end() / SECOND)
        Gauge(
            "driftloop_detector_waiting_repeated_rows",
            "Rows since the last window that came before, and are in none",
            registry=registry,
        ).set_function(lambda: float(self._cutter.repeated))
        full = Gauge(
            "driftloop_detector_window_full_rows",
            "Rows at which a window closes",
            registry=registry,
        )
        least = Gauge(
            "driftloop_detector_window_least_rows",
            "Rows without which no window closes by time",
            registry=registry,
        )
        full.set(rule.rows)
        least.set(rule.least)
        self._cutter = WindowCutter(rule)

    def show_pace(self, rate: float | None) -> None:
        """Show how many rows a second come; None before it is known."""
        self._pace = rate
        use = self._settings.compare_budget(rate)
        self._traffic.set(rate or 0.0)
        self._expected.set(use.expected if use and use.expected is not None else float("nan"))

    def follow_cutter(self, cutter: WindowCutter) -> None:
        """Show the window that a cutter has open, whenever somebody asks."""
        self._cutter = cutter

    def _find_end(self) -> int:
        """Return the time from which the open window closes with its least rows; 0: none closes it."""
        since, at_most = self._cutter.since, self._rule.at_most
        return since + at_most if since and at_most is not None else 0

    def build_record(self) -> OpenWindow:
        """Return it as people are told of it."""
        cutter, end = self._cutter, self._find_end()
        number = cutter.number + 1
        return OpenWindow(
            release=self._release,
            window=number,
            rows=cutter.waiting,
            full=self._rule.rows,
            least=self._rule.least,
            repeated=cutter.repeated,
            since=format_moment(cutter.since) if cutter.since else None,
            due=format_moment(end) if end else None,
            budget=self._settings.compare_budget(self._pace),
            order=self.order,
            labels=self._labels,
            together=self._find_pending(number),
        )

    def show_labels(self, counts: LabelCounts) -> None:
        """Show how good answers are by all labels so far, and what became of labels."""
        self._labels = counts
        for name, value in (
            ("accuracy", counts.accuracy),
            ("mae", counts.mae),
            ("rmse", counts.rmse),
        ):
            self._quality["quality"].labels(name).set(float("nan") if value is None else value)
        self._quality["rows"].set(counts.rows)
        for name in ("waiting", "expired"):
            self._quality["answers"].labels(name).set(getattr(counts, name))
        for name in ("repeated", "contradicting", "unreadable", "foreign", "unknown", "early"):
            self._quality["labels"].labels(name).set(getattr(counts, name))

    def describe_window(self) -> str:
        """Return it in words."""
        return self.build_record().describe(datetime.now(UTC))


def _build_quality(registry: CollectorRegistry) -> dict[str, Gauge]:
    return {
        "quality": Gauge(
            "driftloop_detector_live_quality",
            "How good the release's answers are by all labels so far; NaN for a measure of other answers",
            ["measure"],
            registry=registry,
        ),
        "rows": Gauge(
            "driftloop_detector_labelled_rows",
            "Rows of the release whose answer and label are there",
            registry=registry,
        ),
        "answers": Gauge(
            "driftloop_detector_unlabelled_answers",
            "Answers that wait for a label, and those that got none in time",
            ["state"],
            registry=registry,
        ),
        "labels": Gauge(
            "driftloop_detector_odd_labels",
            "Labels that repeat or contradict earlier ones, fit no answer, are of another release's, or of no known "
            "request (unknown; early: so far)",
            ["kind"],
            registry=registry,
        ),
    }


def format_moment(moment: int) -> str:
    """Return a stored time, in nanoseconds since 1970, as records write it."""
    return format_time(datetime.fromtimestamp(moment / SECOND, UTC))
