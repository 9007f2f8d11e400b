"""Proposes windows, and counts of alarms, for the monitors of a spec: each pair is fitted and replayed as the spec's own
are, its threshold follows from `falseAlarms` at the traffic of the rows.

Of those whose alarms on the rows before any change do not refute the budget, the one is proposed that sees the
changes soonest, those that are made and the one that the rows are known to have; where none keeps the budget, the one
with the fewest alarms, and this is said.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from driftloop.contract.budgets import write_traffic
from driftloop.contract.handovers import AlarmCount, RetrainPolicy
from driftloop.operations.backtests.replays import (
    OWN_CHANGE,
    BacktestResult,
    Estimate,
    MonitorReplay,
)
from driftloop.plan import Monitor
from driftloop.plan.effects import COUNTED, choose_effects
from driftloop.retrain.simulation import SimulatedRun, simulate_decision
from driftloop.spec import Pipeline
from driftloop.spec.detector import Alarms, Detector, TimedWindow

WINDOWS = (100, 200, 500, 1000, 2000)
COUNTS = (AlarmCount(1, 1), AlarmCount(2, 3))
FEWEST = 10
"""Windows that the rows must fill."""

TryPipeline = Callable[[Pipeline], BacktestResult | None]
"""Fits and replays a pipeline; None when it can't be, which it tells."""


@dataclass(frozen=True)
class Trial:
    """Result of a monitor with one window and count."""

    monitor: Monitor
    count: AlarmCount
    alarms: int
    """Alarms that counted where nothing has changed."""
    month: Estimate | None
    """The same of a month; None of rows that take no time."""
    changes: tuple[str, ...]
    """Changes that it could see: that of the rows, and of monitors of requests those that are made in them."""
    delays: tuple[float | None, ...]
    """Seconds until an alarm counts, of each of these; None where none does."""

    def keeps(self, wanted: float) -> bool:
        """Return True when its alarms do not show that more than so many would come in a month."""
        return self.month is None or self.month.low <= wanted

    def rank(self, wanted: float) -> tuple[float, ...]:
        """Return a key by which the best one comes first."""
        seen = [delay for delay in self.delays if delay is not None]
        unseen = len(self.delays) - len(seen)
        if not self.keeps(wanted):
            return (1.0, self.alarms, unseen, max(seen, default=0.0))
        return (0.0, unseen, max(seen, default=0.0), sum(seen), self.alarms)


@dataclass(frozen=True)
class Suggestion:
    """Proposal for a monitor."""

    own: Trial
    """As the spec has it."""
    best: Trial
    """The proposal; `own` when nothing that was tried is better."""
    wanted: float
    """False alarms of a month that it may have."""
    tried: int
    """Settings that could be fitted."""
    traffic: str
    """Rows that come, as a spec has them; empty when they take no time."""


def suggest_settings(
    pipeline: Pipeline, own: BacktestResult, try_pipeline: TryPipeline
) -> tuple[Suggestion, ...]:
    """Return what is proposed for each monitor of requests, beside what `own` says of the spec as it is."""
    traffic = "" if own.traffic is None else write_traffic(own.traffic)
    names = frozenset(replay.monitor.name for replay in own.replays)
    trials: dict[str, list[Trial]] = {}
    for rows in WINDOWS:
        for count in COUNTS if FEWEST * rows <= own.rows else ():
            result = try_pipeline(change_pipeline(pipeline, names, rows, count, traffic))
            for trial in () if result is None else list_trials(result):
                trials.setdefault(trial.monitor.name, []).append(trial)
    return tuple(
        _choose_best(trial, trials.get(trial.monitor.name, []), traffic)
        for trial in list_trials(own)
    )


def _choose_best(own: Trial, trials: Sequence[Trial], traffic: str) -> Suggestion:
    budgets = (trial.monitor.rate.budget for trial in trials)
    wanted = next((budget.month for budget in budgets if budget is not None), float("inf"))
    best = min((own, *trials), key=lambda each: each.rank(wanted))
    return Suggestion(own, best, wanted, len(trials), traffic)


def change_pipeline(
    pipeline: Pipeline, names: Collection[str], rows: int, count: AlarmCount, traffic: str
) -> Pipeline:
    """Return the pipeline with this window and count of the named monitors, and thresholds by `falseAlarms`."""
    effects = choose_effects(pipeline.spec)
    monitors = dict(pipeline.spec.monitors)
    for name in names:
        detector = monitors[name]
        update: dict[str, Any] = {"window": _change_window(detector, rows), "alarm_rate": None}
        if effects[name] in COUNTED:
            update["alarms"] = Alarms(least=count.least, of=count.of)
        monitors[name] = detector.model_copy(update=update)
    spec = {"monitors": monitors, **({"traffic": traffic} if traffic else {})}
    return pipeline.model_copy(update={"spec": pipeline.spec.model_copy(update=spec)})


def _change_window(detector: Detector, rows: int) -> int | TimedWindow:
    window = detector.window
    if isinstance(window, int) or window.at_most is None:
        return rows
    return TimedWindow(rows=rows, at_most=window.at_most)


def list_trials(result: BacktestResult) -> Iterator[Trial]:
    """Yield what each monitor said, its alarms counted by themselves: no run, cooldown or budget hides one."""
    for replay in result.replays:
        name = replay.monitor.name
        count = count_alarms(replay.monitor, result.policy)
        policy = RetrainPolicy(on=(name,), counts={name: count})
        counted = _count_alarms(replay, policy, result, None)
        alarms = len(result.list_clean(counted))
        known = {(each.first, each.last) for each in counted}
        names, delays = [], []
        if result.changed_at is not None:
            own = (
                each.at - result.find_second(result.changed_at)
                for each in counted
                if each.row >= result.changed_at
            )
            names.append(OWN_CHANGE)
            delays.append(next(own, None))
        on_requests = replay.monitor.detector.on == "request"
        for place, change in enumerate(result.changes if on_requests else ()):
            names.append(change.text)
            start = replay.report.starts[place]
            later = (
                each.at - result.find_second(start)
                for each in _count_alarms(replay, policy, result, place)
                if each.row >= start and (each.first, each.last) not in known
            )
            delays.append(next(later, None))
        month = result.estimate_month(alarms)
        yield Trial(replay.monitor, count, alarms, month, tuple(names), tuple(delays))


def count_alarms(monitor: Monitor, policy: RetrainPolicy) -> AlarmCount:
    """Return how many windows of a monitor must alarm before it counts."""
    return policy.count_of(monitor.name) if monitor.then in COUNTED else AlarmCount(1, 1)


def _count_alarms(
    replay: MonitorReplay, policy: RetrainPolicy, result: BacktestResult, place: int | None
) -> Sequence[SimulatedRun]:
    record = replay.plain if place is None else replay.report.changed[place]
    return simulate_decision(replay.simulate(record), policy, until=result.ended, run=0.0).runs
