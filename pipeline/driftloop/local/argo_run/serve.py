"""Webhooks, sensors, schedules and the runner of Workflows, in one process."""

import asyncio
import logging
import os
from pathlib import Path

from driftloop.clients.nats import connect_client
from driftloop.contract.platform import NATS
from driftloop.local.argo import objects
from driftloop.local.argo.store import Workflows
from driftloop.local.argo_events.eventsource import EventSources
from driftloop.local.argo_events.sensor import Sensors
from driftloop.local.argo_workflows import pod
from driftloop.local.argo_workflows.controller import Controller
from driftloop.local.argo_workflows.cron import Schedules
from driftloop.local.argo_workflows.leaves import World
from driftloop.local.ground.addresses import proxy_environment
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet.devices import MachineDevices

LOG = logging.getLogger("argo")


async def serve(state: StateFolder) -> None:
    """Run until cancelled. LocalError when the state folder is not set up; StoreError without
    NATS."""
    settings, webhook = LocalSettings.load(state), state.require_port("webhook")
    if killed := pod.kill_leftovers(state):
        LOG.info("stopped %d processes of steps that an earlier runner left", killed)
    client = await connect_client(settings[NATS], name="argo")
    try:
        js = client.jetstream()
        workflows = await Workflows.open(js)
        applied = Applied()
        # an interrupted Workflow may need its template before the file is read again
        applied.now = objects.Objects.read(state.objects)
        devices = MachineDevices.find_devices(_device_files(), os.environ)
        if gpus := [f"{var}={','.join(names)}" for var, names in devices.shown.items() if names]:
            LOG.info("GPUs: %s", " ".join(gpus))
        world = World(
            state,
            workflows,
            applied.find,
            proxy_environment(state.require_port("proxy")),
            devices=devices,
        )
        sources = EventSources(js, settings.secret)
        sensors = Sensors(js, workflows)
        schedules = Schedules(js, workflows)
        async with asyncio.TaskGroup() as group:
            group.create_task(_follow(state, applied, sources, sensors, schedules))
            group.create_task(sources.run(webhook))
            group.create_task(sensors.run())
            group.create_task(schedules.run())
            group.create_task(Controller(world).run())
    finally:
        await client.close()


def _device_files() -> list[str]:
    """Return names below /dev that GPUs may be among."""
    root = Path("/dev")
    files = [file for pattern in ("nvidia*", "dri/*") for file in root.glob(pattern)]
    return [file.relative_to(root).as_posix() for file in files]


class Applied:
    """Objects of the commit that is applied now."""

    def __init__(self) -> None:
        self.now = objects.Objects()

    def find(self, kind: str, namespace: str, name: str) -> objects.Json | None:
        """Return one object of the applied commit."""
        return self.now.find(kind, namespace, name)


async def _follow(
    state: StateFolder,
    applied: Applied,
    sources: EventSources,
    sensors: Sensors,
    schedules: Schedules,
) -> None:
    """Apply every new commit's objects: consumers of events first, their sources last."""
    async for current in objects.watch(state.objects):
        applied.now = current
        await sensors.apply(current)
        await schedules.apply(current)
        await sources.apply(current)
        LOG.info("applied %s: %d objects", current.revision or "nothing yet", len(current.by_key))
