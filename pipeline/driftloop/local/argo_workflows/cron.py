"""CronWorkflows: one Workflow at each time of a schedule, named after that time."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import nats.js.errors
from croniter import croniter
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from driftloop.clients.nats import key_value
from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_number,
    is_text,
    parse_json,
    to_json,
)
from driftloop.contract.streams import SCHEDULES
from driftloop.contract.times import format_time
from driftloop.errors import StoreError
from driftloop.local.argo import bus
from driftloop.local.argo.nodes import ENDED
from driftloop.local.argo.objects import Json, Objects
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo.patience import patiently
from driftloop.local.argo.store import Workflows
from driftloop.local.argo_workflows.model import CronSpec
from driftloop.local.argo_workflows.schedules import list_fields, read_cron_workflow

LOG = logging.getLogger("argo.cron")

BUCKET = SCHEDULES.name
"""Time up to which a CronWorkflow is done, and its last Workflow, by `<namespace>.<name>`."""

LONGEST_SLEEP = 30.0
"""Seconds after which the clock is read again: it may have been set, or the machine asleep."""

ON_TIME = 5.0
"""Seconds by which a run may be late without having been missed."""


@dataclass(frozen=True)
class ScheduleProgress:
    """Time up to which a schedule is done (seconds since the epoch), and its last Workflow."""

    until: float = document_key("until", "a number", is_number)
    last: str | None = document_key(
        "last", "a name or null", lambda value: value is None or is_text(value), default=None
    )


@dataclass(frozen=True)
class Due:
    """Latest time of a schedule at or before now, and the next one after now."""

    latest: float | None
    next: float


class Schedules:
    """Schedules of the applied CronWorkflows."""

    def __init__(self, js: JetStreamContext, workflows: Workflows) -> None:
        self._js = js
        self._workflows = workflows
        self._crons: dict[tuple[str, str], tuple[Json, CronSpec]] = {}
        self._changed = asyncio.Event()
        self._bucket: KeyValue | None = None

    async def apply(self, objects: Objects) -> None:
        """Follow these schedules, and no others; one that is not understood is logged only."""
        crons: dict[tuple[str, str], tuple[Json, CronSpec]] = {}
        for cron in objects.of("CronWorkflow"):
            namespace, name = cron["metadata"]["namespace"], cron["metadata"]["name"]
            try:
                crons[namespace, name] = (cron, read_cron_workflow(cron))
            except NotUnderstoodError as error:
                LOG.error("%s", error)  # noqa: TRY400 - the traceback adds nothing
        self._crons = crons
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        await patiently(self._open)
        while True:
            self._changed.clear()
            wait = LONGEST_SLEEP
            for key in list(self._crons):
                try:
                    wait = min(wait, await self._look(key))
                except (StoreError, *bus.Errors) as error:
                    LOG.warning("%s/%s: %s; trying again", *key, bus.describe(error))
                    wait = 1.0
            try:
                async with asyncio.timeout(max(0.05, wait)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _open(self) -> None:
        self._bucket = await key_value(self._js, BUCKET)

    async def _look(self, key: tuple[str, str]) -> float:
        """Create the Workflow that is due, if any; return the seconds until the next time."""
        cron, spec = self._crons[key]
        now = time.time()
        done = await self._read(key)
        if done is None:
            # a schedule starts when it is first applied: nothing before that was missed
            done = ScheduleProgress(now)
            await self._write(key, done)
        due = list_times(spec, done.until, now)
        if due.latest is not None:
            last = done.last
            late = now - due.latest
            if late > max(ON_TIME, spec.starting_deadline_seconds):
                LOG.info("%s/%s: missed by %.0f s, too late to start", *key, late)
            elif await self._runs(key[0], done.last):
                LOG.info("%s/%s: %s still runs, nothing is started", *key, done.last)
            else:
                workflow = made(cron, spec, due.latest)
                last, new = await self._workflows.create(workflow, namespace=key[0])
                LOG.info(
                    "%s/%s: workflow %s %s", *key, last, "created" if new else "already exists"
                )
            await self._write(key, ScheduleProgress(due.latest, last))
        return due.next - time.time()

    async def _runs(self, namespace: str, name: str | None) -> bool:
        stored = await self._workflows.get(namespace, name) if name else None
        return stored is not None and (stored[0].get("status") or {}).get("phase") not in ENDED

    async def _read(self, key: tuple[str, str]) -> ScheduleProgress | None:
        if self._bucket is None:
            raise StoreError(f"bucket {BUCKET} is not open")
        try:
            entry = await self._bucket.get(".".join(key))
        except nats.js.errors.KeyNotFoundError:
            return None
        label = f"the progress of schedule {'/'.join(key)}"
        try:
            return from_json(
                ScheduleProgress, parse_json(entry.value or b"", label=label), label=label
            )
        except DocumentError as error:
            # as after a lost store: the schedule begins now, and nothing before counts as missed
            LOG.error("%s; it begins anew", error.message)  # noqa: TRY400 - the traceback adds nothing
            return None

    async def _write(self, key: tuple[str, str], done: ScheduleProgress) -> None:
        if self._bucket is None:
            raise StoreError(f"bucket {BUCKET} is not open")
        await self._bucket.put(".".join(key), json.dumps(to_json(done)).encode())


def list_times(spec: CronSpec, since: float, now: float) -> Due:
    """Return the latest scheduled time after `since` and not after `now`, and the next one."""
    zone = ZoneInfo(spec.timezone)
    here = datetime.fromtimestamp(now, zone)
    # get_prev is strictly before; the very moment must not be skipped
    just = here + timedelta(microseconds=1)
    schedules = [list_fields(schedule) for schedule in spec.schedules]
    latest = max(croniter(fields, just).get_prev(datetime).timestamp() for fields in schedules)
    following = min(croniter(fields, here).get_next(datetime).timestamp() for fields in schedules)
    return Due(latest if latest > since else None, following)


def made(cron: Json, spec: CronSpec, moment: float) -> Json:
    """Return the Workflow of one scheduled time."""
    metadata: Mapping[str, str] = cron["metadata"]
    scheduled = format_time(datetime.fromtimestamp(moment, UTC))
    return {
        "apiVersion": cron["apiVersion"],
        "kind": "Workflow",
        "metadata": {
            "name": f"{metadata['name']}-{int(moment)}",
            "namespace": metadata["namespace"],
            "labels": {"workflows.argoproj.io/cron-workflow": metadata["name"]},
            "annotations": {"workflows.argoproj.io/scheduled-time": scheduled},
        },
        "spec": spec.workflow_spec,
    }
