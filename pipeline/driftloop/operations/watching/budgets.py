"""Budget of false alarms of each monitor, in words."""

from collections.abc import Iterator

from driftloop.contract.budgets import (
    LARGEST_RATE,
    count_windows,
    expect_alarms,
    write_alarms,
    write_traffic,
)
from driftloop.contract.handovers import AlarmCount
from driftloop.plan import Monitor, Plan


def describe_budgets(plan: Plan) -> Iterator[str]:
    """Yield a line for each monitor: its part, what it was derived from, and what a window may do."""
    for monitor in plan.monitors:
        yield f"{monitor.name}: {_describe_budget(monitor)}"


def _describe_budget(monitor: Monitor) -> str:
    settings, budget = monitor.settings, monitor.rate.budget
    if budget is None:
        return (
            f"{settings.alarm_rate:g} of the windows, by its own `alarmRate`, not of `falseAlarms`"
        )
    windows = count_windows(budget.traffic, settings.window, settings.at_most, settings.least_rows)
    count = AlarmCount(budget.least, budget.of)
    source = "assumed, `traffic` is not set" if budget.assumed else "`traffic`"
    most = expect_alarms(settings.alarm_rate, windows, budget.least, budget.of)
    rarer = (
        f", {write_alarms(most)} false alarms a month: no window may do so oftener"
        if settings.alarm_rate == LARGEST_RATE and most < budget.month / 2
        else ""
    )
    return (
        f"{write_alarms(budget.month)} false alarms a month; {count.text} of {write_alarms(windows)} windows a month "
        f"counts, at {write_traffic(budget.traffic)} ({source}), so {settings.alarm_rate:g} of the windows "
        f"may alarm{rarer}"
    )
