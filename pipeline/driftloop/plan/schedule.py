"""Schedules that start runs, and the longest time for which one is silent."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Literal, assert_never, get_args

from driftloop.contract.names import Names
from driftloop.spec import cron
from driftloop.spec.cron import Times
from driftloop.spec.train import Train

ScheduleKind = Literal["train", "data"]
"""`train` starts a run; `data` looks for new batches and starts one when there are any."""

_FIRST, _DAYS = date(2024, 1, 1), 5 * 366
"""Days that hold every meeting of a date with a weekday but those of 29 February, one leap year
among them."""


@dataclass(frozen=True)
class TrainSchedule:
    """One schedule of a pipeline."""

    kind: ScheduleKind
    name: str
    """Name of its object."""
    cron: str
    """Five cron fields, UTC."""


def train_schedules(train: Train, names: Names) -> tuple[TrainSchedule, ...]:
    """Return the schedules that the spec has."""
    kinds: tuple[ScheduleKind, ...] = get_args(ScheduleKind)
    schedules = (_train_schedule(kind, train, names) for kind in kinds)
    return tuple(schedule for schedule in schedules if schedule is not None)


def _train_schedule(kind: ScheduleKind, train: Train, names: Names) -> TrainSchedule | None:
    match kind:
        case "train":
            name, times = names.cron, train.schedule
        case "data":
            name, times = names.new_data, train.new_data
        case _:
            assert_never(kind)
    return None if times is None else TrainSchedule(kind, name, times)


def longest_gap(schedule: str) -> timedelta | None:
    """The longest time between two moments of a cron expression (UTC); None when there are
    hardly any."""
    times = cron.parsed(schedule)
    at = sorted(
        timedelta(hours=hour, minutes=minute) for hour in times.hours for minute in times.minutes
    )
    due = list(_due_dates(times))
    if len(due) < 2:
        return None
    within = max((later - earlier for earlier, later in pairwise(at)), default=timedelta())
    nights = (later - earlier for earlier, later in pairwise(due))
    return max(within, max(nights) - at[-1] + at[0])


def _due_dates(times: Times) -> Iterator[date]:
    for number in range(_DAYS):
        day = _FIRST + timedelta(days=number)
        due = day.day in times.days, day.isoweekday() % 7 in times.weekdays
        # cron's own rule: where both are given, one of them is enough
        if day.month in times.months and (any(due) if times.either else all(due)):
            yield day
