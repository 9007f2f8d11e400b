"""Schedules that start `P-train`, for a run or to look for new data, and `P-prune`."""

from dataclasses import dataclass
from typing import assert_never

from driftloop.contract.names import NEW_DATA_CAUSE, ON_NEW_DATA, SCHEDULE_CAUSE
from driftloop.plan import Plan
from driftloop.plan.schedule import TrainSchedule, train_schedules


@dataclass(frozen=True)
class ScheduledRun:
    """A workflow that is started at some times, from a template."""

    name: str
    schedule: str
    """Five cron fields, UTC."""
    template: str
    cause: str
    entrypoint: str | None = None
    """Node to run in place of the template's own."""


def scheduled_runs(plan: Plan) -> dict[str, ScheduledRun]:
    """Return file name -> scheduled run, for each schedule that the spec has."""
    runs = {
        f"{schedule.kind}.cronworkflow": _scheduled_run(plan, schedule)
        for schedule in train_schedules(plan.train, plan.names)
    }
    if plan.prune is not None:
        name = plan.names.prune
        runs["prune.cronworkflow"] = ScheduledRun(name, plan.prune, name, SCHEDULE_CAUSE)
    return runs


def _scheduled_run(plan: Plan, schedule: TrainSchedule) -> ScheduledRun:
    template = plan.names.train
    match schedule.kind:
        case "train":
            return ScheduledRun(schedule.name, schedule.cron, template, cause=SCHEDULE_CAUSE)
        case "data":
            # most of these runs end after the look
            return ScheduledRun(schedule.name, schedule.cron, template, NEW_DATA_CAUSE, ON_NEW_DATA)
        case _:
            assert_never(schedule.kind)
