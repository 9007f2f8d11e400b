"""Specs of CronWorkflows, their schedules read as Argo reads them."""

import calendar
from collections.abc import Mapping, Set
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo_workflows.model import CronSpec
from driftloop.spec import cron

LEAP_YEAR = 2024
"""A year in which every day of any year exists."""

_EVERY_DAY = frozenset(range(1, 32))
_EVERY_WEEKDAY = frozenset(range(7))


def read_cron_workflow(manifest: Mapping[str, Any]) -> CronSpec:
    """Return a CronWorkflow's spec.

    NotUnderstoodError names an unknown field, a schedule that is not one or is never due, or a
    time zone that does not exist.
    """
    metadata = manifest["metadata"]
    label = f"CronWorkflow {metadata.get('namespace', 'default')}/{metadata['name']}"
    spec = read_part(CronSpec, manifest.get("spec") or {}, label=label, path="spec")
    for schedule in spec.schedules:
        try:
            cron.parsed(schedule)
        except ValueError as error:
            raise NotUnderstoodError(f"{label}: schedule `{schedule}` {error}") from error
    try:
        ZoneInfo(spec.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise NotUnderstoodError(
            f"{label}: time zone `{spec.timezone}` does not exist", hint="like Europe/Berlin"
        ) from error
    return spec


def list_fields(schedule: str) -> str:
    """Return a schedule as five fields of plain numbers or `*`, which every reader takes alike."""
    times = cron.parsed(schedule)
    days, weekdays = times.days, times.weekdays
    if times.either:
        longest = max(calendar.monthrange(LEAP_YEAR, month)[1] for month in times.months)
        days = frozenset(day for day in days if day <= longest)
        if len(days) == longest or len(weekdays) == 7:
            days, weekdays = _EVERY_DAY, _EVERY_WEEKDAY
        elif not days:
            days = _EVERY_DAY
    fields = (
        (times.minutes, 60),
        (times.hours, 24),
        (days, 31),
        (times.months, 12),
        (weekdays, 7),
    )
    return " ".join(_list_numbers(numbers, size) for numbers, size in fields)


def _list_numbers(numbers: Set[int], size: int) -> str:
    return "*" if len(numbers) == size else ",".join(map(str, sorted(numbers)))
