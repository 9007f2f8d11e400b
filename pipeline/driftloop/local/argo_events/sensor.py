"""Sensors: events that pass a dependency's filters make Workflows.

An event is acknowledged after its trigger, so that it triggers at least once; a Workflow that is
named after something in the event is created once, because the second creation meets "already
exists".
"""

import asyncio
import contextlib
import json
import logging
import random
import re
import time
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from driftloop.clients.nats import read_messages
from driftloop.errors import LocalError, StoreError
from driftloop.kube.events import SensorSpec, SensorTrigger, TriggerRetry
from driftloop.local.argo import bus
from driftloop.local.argo.objects import Json, Objects
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo.patience import patiently
from driftloop.local.argo.store import Workflows
from driftloop.local.argo.times import duration
from driftloop.local.argo_events import triggers

LOG = logging.getLogger("argo.sensor")

ACK_WAIT = 10.0
"""Seconds after which an event that was not acknowledged comes again, as after a kill."""

_MINUTE = 60.0


class Sensors:
    """Triggers of the applied Sensors, each with its own durable consumer."""

    def __init__(self, js: JetStreamContext, workflows: Workflows) -> None:
        self._js = js
        self._workflows = workflows
        self._running: dict[tuple[str, str, str], tuple[str, asyncio.Task[None]]] = {}

    async def apply(self, objects: Objects) -> None:
        """Run the triggers of these objects, and no others; all consumers exist when this
        returns."""
        listeners: dict[tuple[str, str, str], tuple[str, Listener]] = {}
        for sensor in objects.of("Sensor"):
            namespace, name = sensor["metadata"]["namespace"], sensor["metadata"]["name"]
            try:
                spec = triggers.read_sensor(sensor, f"Sensor {namespace}/{name}")
            except NotUnderstoodError as error:
                LOG.error("%s", error)  # noqa: TRY400 - the traceback adds nothing
                continue
            digest = json.dumps(sensor["spec"], sort_keys=True)
            for trigger in spec.triggers:
                listener = Listener(self._js, self._workflows, (namespace, name), spec, trigger)
                listeners[namespace, name, trigger.template.name] = (digest, listener)
        for key, (digest, task) in list(self._running.items()):
            if key not in listeners or listeners[key][0] != digest:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del self._running[key]
            if key not in listeners:
                await patiently(_forget, self._js, *key)
        for key, (digest, listener) in listeners.items():
            if key not in self._running:
                await patiently(bus.ensure, self._js, key[0])
                await patiently(listener.subscribe)
                task = asyncio.create_task(listener.run(), name=f"trigger {'/'.join(key)}")
                self._running[key] = (digest, task)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            tasks = [task for _, task in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Listener:
    """One trigger of one Sensor."""

    def __init__(
        self,
        js: JetStreamContext,
        workflows: Workflows,
        sensor: tuple[str, str],
        spec: SensorSpec,
        trigger: SensorTrigger,
    ) -> None:
        self._js = js
        self._workflows = workflows
        self._namespace, self._sensor = sensor
        self._trigger = trigger
        self._where = f"{self._namespace}/{self._sensor}/{trigger.template.name}"
        self._dependency = triggers.find_dependency(spec, trigger, self._where)
        self._fired: list[float] = []

    async def subscribe(self) -> None:
        """Make the trigger's consumer unless it exists; a new one gets new events only.
        StoreError."""
        durable = consumer_name(self._sensor, self._trigger.template.name)
        dependency = self._dependency
        subject = bus.subject(self._namespace, dependency.event_source_name, dependency.event_name)
        config = ConsumerConfig(
            durable_name=durable,
            deliver_policy=DeliverPolicy.NEW,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_ack_pending=1,
            filter_subjects=[subject],
        )
        stream = bus.stream(self._namespace)
        try:
            await self._js.add_consumer(stream, config)
            self._subscription = await self._js.pull_subscribe_bind(durable, stream)
        except bus.Errors as error:
            raise StoreError(f"sensor {self._where}: {bus.describe(error)}") from error

    _subscription: JetStreamContext.PullSubscription

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self._listen()
            except StoreError as error:
                LOG.warning("%s: %s; subscribing again", self._where, error.message)
            finally:
                # a request for messages that is still open would swallow the next event
                with contextlib.suppress(nats.errors.Error):
                    await self._subscription.unsubscribe()
            await patiently(self.subscribe)

    async def _listen(self) -> None:
        async for message in read_messages(self._subscription):
            try:
                await self._see(message)
            except (StoreError, *bus.Errors) as error:
                # not acknowledged, so it comes again
                text = error.message if isinstance(error, StoreError) else bus.describe(error)
                LOG.warning("%s: %s; the event is tried again", self._where, text)
                await self._again(message)

    async def _again(self, message: Msg) -> None:
        await asyncio.sleep(1)
        try:
            await message.nak()
        except bus.Errors:
            # the server delivers it again after ACK_WAIT
            return

    async def _see(self, message: Msg) -> None:
        document = json.loads(message.data)
        event = document["data"]
        if not triggers.passes_filters(self._dependency.filters, event):
            LOG.info("%s: event %s does not pass the filters", self._where, document["id"])
            await message.ack()
            return
        await self._limit(message)
        await self._fire(event, message)
        await message.ack()

    async def _fire(self, event: Json, message: Msg) -> None:
        """Create the resource, with the retries of retryStrategy.

        An event that can never succeed is logged and dropped.
        """
        try:
            resource = triggers.fill_resource(self._trigger, event)
        except LocalError as error:
            LOG.error("%s: the trigger failed: %s", self._where, error)  # noqa: TRY400 - the traceback adds nothing
            return
        labels = resource.setdefault("metadata", {}).setdefault("labels", {})
        labels["events.argoproj.io/sensor"] = self._sensor
        labels["events.argoproj.io/trigger"] = self._trigger.template.name
        labels["events.argoproj.io/action-timestamp"] = str(
            int(datetime.now(UTC).timestamp() * 1000)
        )
        retry = self._trigger.retry_strategy or TriggerRetry()
        attempts = max(1, retry.steps or 1)
        wait = duration(retry.duration or "1s")
        for attempt in range(attempts):
            try:
                name, new = await self._workflows.create(resource, namespace=self._namespace)
            except NotUnderstoodError as error:
                LOG.error("%s: the trigger failed: %s", self._where, error)  # noqa: TRY400 - the traceback adds nothing
                return
            except StoreError:
                if attempt == attempts - 1:
                    raise
                jitter = (retry.jitter or 0.0) * random.random()  # noqa: S311
                await _pause(message, wait * (1 + jitter))
                wait *= retry.factor or 1.0
            else:
                LOG.info(
                    "%s: workflow %s %s", self._where, name, "created" if new else "already exists"
                )
                return

    async def _limit(self, message: Msg) -> None:
        """Wait until the rate limit allows another trigger."""
        rate = self._trigger.rate_limit
        if rate is None:
            return
        while True:
            now = time.monotonic()
            self._fired = [moment for moment in self._fired if now - moment < _MINUTE]
            if len(self._fired) < rate.requests_per_unit:
                self._fired.append(now)
                return
            await _pause(message, _MINUTE - (now - self._fired[0]))


def consumer_name(sensor: str, trigger: str) -> str:
    """Return the durable name of a trigger's consumer."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"sensor-{sensor}-{trigger}")


async def _pause(message: Msg, seconds: float) -> None:
    """Wait, and tell the server now and then that the event is in progress."""
    until = time.monotonic() + seconds
    while (rest := until - time.monotonic()) > 0:
        try:
            await message.in_progress()
        except bus.Errors as error:
            LOG.debug("in-progress was not sent to NATS: %s", bus.describe(error))
        await asyncio.sleep(min(rest, ACK_WAIT / 2))


async def _forget(js: JetStreamContext, namespace: str, sensor: str, trigger: str) -> None:
    try:
        await js.delete_consumer(bus.stream(namespace), consumer_name(sensor, trigger))
    except nats.js.errors.NotFoundError:
        return
    except bus.Errors as error:
        raise StoreError(f"sensor {namespace}/{sensor}: {bus.describe(error)}") from error
