"""Results of a backtest: windows and alarms of each monitor, the runs of the decision, how soon changes are seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from driftloop.contract.budgets import MONTH
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.replays import InjectedChange, ReplayRecord, ReplayReport
from driftloop.contract.verdicts import WindowRecord, describe_changes, read_changes
from driftloop.operations.ground.rates import bound_count, bound_share
from driftloop.plan import Monitor
from driftloop.retrain.simulation import (
    RUN,
    SimulatedLoop,
    SimulatedRun,
    SimulatedWindow,
    simulate_decision,
)

MOST_NAMED = 3
"""Columns of an alarm, as causes name them."""
OWN_CHANGE = "the rows' own change"
"""Name of the change that the rows are known to have."""


@dataclass(frozen=True)
class Estimate:
    """A figure of so many counts, and the bounds that it lies within in 19 of 20 cases."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Detection:
    """Detection of a change by one monitor."""

    monitor: str
    looks: bool
    """It looks at the column."""
    alarms: int
    """Windows with changed rows that alarm."""
    windows: int
    """All windows with changed rows."""
    rows: int | None = None
    """Rows from the first changed one to the end of the first window that alarms, and did not without the
    change; None: none does."""
    seconds: float | None = None
    words: str = ""
    """What the alarm names."""


@dataclass(frozen=True)
class ChangeResult:
    """Result of a change: one that was injected, or one that the rows are known to have."""

    name: str
    start: int
    """First changed row."""
    detections: tuple[Detection, ...]
    run_rows: int | None
    """Rows from there to the decision to train; None: there was none."""
    run_seconds: float | None


@dataclass(frozen=True)
class MonitorReplay:
    """Verdicts of one monitor on the rows."""

    monitor: Monitor
    columns: tuple[str, ...]
    """Columns that it looks at."""
    report: ReplayReport

    @property
    def plain(self) -> ReplayRecord:
        """The rows as they are."""
        return self.report.plain

    @property
    def alarms(self) -> tuple[WindowRecord, ...]:
        """Windows that alarmed."""
        return tuple(window for window in self.plain.windows if window.alarm)

    def select_clean(self, changed_at: int | None) -> tuple[WindowRecord, ...]:
        """Return the windows before the row from which on something has changed; all without one."""
        return tuple(w for w in self.plain.windows if changed_at is None or w.last < changed_at)

    def estimate_share(self, changed_at: int | None) -> Estimate | None:
        """Return the share of windows that alarm where nothing has changed; None without a window."""
        clean = self.select_clean(changed_at)
        if not clean:
            return None
        alarms = sum(window.alarm for window in clean)
        return Estimate(alarms / len(clean), *bound_share(alarms, len(clean)))

    def simulate(self, record: ReplayRecord) -> Iterator[SimulatedWindow]:
        """Yield the windows of a replay as the decision takes them."""
        for window, closed in zip(record.windows, record.closed, strict=True):
            yield SimulatedWindow(
                self.monitor.name,
                window.window,
                window.last,
                closed,
                window.alarm,
                describe_changes(read_changes(window.details), MOST_NAMED),
                window.lasting,
            )


@dataclass(frozen=True)
class BacktestResult:
    """A backtest of all monitors of a spec."""

    policy: RetrainPolicy
    replays: tuple[MonitorReplay, ...]
    changes: tuple[InjectedChange, ...]
    run: float = RUN
    """Seconds that a run is taken to last."""
    changed_at: int | None = None
    """Row from which on the rows are known to be changed."""

    @property
    def rows(self) -> int:
        """Rows that were replayed."""
        return self.replays[0].plain.rows

    @property
    def began(self) -> float:
        """Time of the first row."""
        return self.find_second(1)

    @property
    def ended(self) -> float:
        """Time of the last row."""
        return self.find_second(self.rows)

    @property
    def seconds(self) -> float:
        """Time that the rows take, that after the last one included."""
        return (self.ended - self.began) * self.rows / max(self.rows - 1, 1)

    @property
    def traffic(self) -> float | None:
        """Rows a second; None when they take no time."""
        return self.rows / self.seconds if self.seconds > 0 else None

    @property
    def clean_seconds(self) -> float:
        """Time of the rows before the change that they are known to have."""
        return self.find_second(self.changed_at) - self.began if self.changed_at else self.seconds

    def estimate_month(self, count: int) -> Estimate | None:
        """Return how many of what came so often where nothing has changed come in a month of such traffic;
        None when it took no time."""
        if self.clean_seconds <= 0:
            return None
        months = MONTH / self.clean_seconds
        low, high = bound_count(count)
        return Estimate(count * months, low * months, high * months)

    def simulate_loop(self, change: int | None = None) -> SimulatedLoop:
        """Return what the decision does with the rows as they are, or with an injected change."""
        windows = [
            window
            for replay in self.replays
            for window in replay.simulate(
                replay.plain if change is None else replay.report.changed[change]
            )
        ]
        return simulate_decision(windows, self.policy, until=self.ended, run=self.run)

    def list_clean(self, runs: Sequence[SimulatedRun]) -> Sequence[SimulatedRun]:
        """Return the runs before the change that the rows are known to have."""
        return [run for run in runs if self.changed_at is None or run.row < self.changed_at]

    def list_changes(self) -> Iterator[ChangeResult]:
        """Yield what came of the change that the rows are known to have, and of each injected one."""
        plain = self.simulate_loop()
        if self.changed_at is not None:
            seen = tuple(_find_known(each, self.changed_at) for each in self.replays)
            yield self._build_result(OWN_CHANGE, self.changed_at, seen, plain.runs)
        known = {(run.monitor, run.first, run.last) for run in plain.runs}
        for place, change in enumerate(self.changes):
            start = self.replays[0].report.starts[place]
            seen = tuple(_find_injected(each, place, change, start) for each in self.replays)
            loop = self.simulate_loop(place)
            runs = [run for run in loop.runs if (run.monitor, run.first, run.last) not in known]
            yield self._build_result(change.text, start, seen, runs)

    def _build_result(
        self,
        name: str,
        start: int,
        detections: tuple[Detection, ...],
        runs: Sequence[SimulatedRun],
    ) -> ChangeResult:
        began = self.find_second(start)
        detections = tuple(
            each if each.seconds is None else _since(each, began) for each in detections
        )
        run = next((each for each in runs if each.row >= start), None)
        if run is None:
            return ChangeResult(name, start, detections, None, None)
        return ChangeResult(name, start, detections, run.row - start + 1, run.at - began)

    def find_second(self, row: int) -> float:
        """Return when a row was asked, of those whose times were asked for."""
        return dict(self.replays[0].report.times)[row]


def _since(detection: Detection, began: float) -> Detection:
    """Return a detection whose seconds count from the change."""
    return replace(detection, seconds=max(0.0, (detection.seconds or 0.0) - began))


def _find_known(replay: MonitorReplay, start: int) -> Detection:
    """Return what a monitor said of the rows' own change."""
    return _detect(replay, replay.plain, start, frozenset(), looks=True)


def _find_injected(
    replay: MonitorReplay, place: int, change: InjectedChange, start: int
) -> Detection:
    """Return what a monitor said of an injected change. A window that alarms without it, too, says nothing."""
    alarmed = frozenset((window.first, window.last) for window in replay.alarms)
    # what a model answers to changed rows is not known
    looks = replay.monitor.detector.on == "request" and change.column in replay.columns
    return _detect(replay, replay.report.changed[place], start, alarmed, looks=looks)


def _detect(
    replay: MonitorReplay,
    record: ReplayRecord,
    start: int,
    alarmed: frozenset[tuple[int, int]],
    *,
    looks: bool,
) -> Detection:
    closed = record.closed
    changed = [place for place, window in enumerate(record.windows) if window.last >= start]
    alarms = [place for place in changed if record.windows[place].alarm]
    name, count = replay.monitor.name, len(alarms)
    for place in alarms:
        window = record.windows[place]
        if (window.first, window.last) not in alarmed:
            words = describe_changes(read_changes(window.details), MOST_NAMED)
            rows = window.last - start + 1
            return Detection(name, looks, count, len(changed), rows, closed[place], words)
    return Detection(name, looks, count, len(changed))
