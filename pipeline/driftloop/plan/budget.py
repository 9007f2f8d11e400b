"""Rate at which a window of each monitor may alarm though nothing has changed: its part of `falseAlarms`."""

from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.budgets import (
    TRAFFIC,
    AlarmBudget,
    count_windows,
    find_rate,
    read_alarms,
    read_traffic,
    share_rate,
)
from driftloop.contract.handovers import AlarmCount
from driftloop.plan.effects import COUNTED, AlarmEffect, choose_effects
from driftloop.spec.detector import Detector
from driftloop.spec.model import Spec


@dataclass(frozen=True)
class WindowRate:
    """Rate of false alarms that a window of a monitor may have."""

    rate: float
    budget: AlarmBudget | None = None
    """What it is derived from; None: the monitor's own `alarmRate`."""


def share_false_alarms(spec: Spec) -> Mapping[str, WindowRate]:
    """Return the rates of all monitors: those without an `alarmRate` of their own share the pipeline's
    false alarms by what their detectors can use of them (`share_rate`)."""
    effects = choose_effects(spec)
    sharing = [name for name, each in spec.monitors.items() if each.alarm_rate is None]
    kinds = [spec.monitors[name].detector for name in sharing]
    parts = dict(zip(sharing, share_rate(kinds), strict=True))
    month = read_alarms(spec.false_alarms) or 1.0
    traffic = TRAFFIC if spec.traffic is None else read_traffic(spec.traffic) or TRAFFIC
    rates = {}
    for name, detector in spec.monitors.items():
        if detector.alarm_rate is not None:
            rates[name] = WindowRate(detector.alarm_rate)
            continue
        count = count_alarms(spec, detector, effects[name])
        budget = AlarmBudget(
            month=month * parts[name],
            traffic=traffic,
            assumed=spec.traffic is None,
            least=count.least,
            of=count.of,
        )
        rates[name] = derive_rate(budget, detector)
    return rates


def derive_rate(budget: AlarmBudget, detector: Detector) -> WindowRate:
    """Return how often a window may alarm, so that so many alarms count in a month."""
    time = detector.window_time
    windows = count_windows(
        budget.traffic,
        detector.window_rows,
        None if time is None else time.total_seconds(),
        detector.window_least,
    )
    return WindowRate(find_rate(budget.month, windows, budget.least, budget.of), budget)


def count_alarms(spec: Spec, detector: Detector, effect: AlarmEffect | None) -> AlarmCount:
    """Return how many windows must alarm before it counts. What starts and halts nothing is told window by
    window, so each counts."""
    if effect not in COUNTED:
        return AlarmCount(1, 1)
    if detector.alarms is not None:
        return AlarmCount(detector.alarms.least, detector.alarms.of)
    return AlarmCount(spec.retrain.consecutive, spec.retrain.consecutive)
