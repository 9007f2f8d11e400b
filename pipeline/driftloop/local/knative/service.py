"""The broker's main loop: watch the applied objects, keep streams and dispatchers in step with
them.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry

from driftloop.clients.http import EventServer
from driftloop.clients.jetstream import Publisher
from driftloop.clients.nats import connect_client, ensure_stream
from driftloop.contract.documents import DocumentError, is_text_map
from driftloop.errors import LocalError, StoreError
from driftloop.local.ground import files
from driftloop.local.ground.state import write_json
from driftloop.local.knative import objects
from driftloop.local.knative.courier import Courier
from driftloop.local.knative.dispatch import DeliveryCounters, TriggerDispatcher
from driftloop.local.knative.ingress import LIMIT, BrokerIngress
from driftloop.local.knative.troubles import BrokerTroubles

log = logging.getLogger("broker")

POLL = 0.2
LINGER = 0.003
"""Seconds that an event waits at the door for others, with which it goes to NATS."""


class ServiceAddresses:
    """`run/addresses.json`: where a Service's name and port are on this machine.

    Read again when it changes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._table: dict[str, str] = {}

    def refresh_file(self) -> None:
        """Read the file if it was replaced."""
        stamp = _stamp_file(self._path)
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            table = files.read_document(self._path)
        except (DocumentError, LocalError) as error:
            log.warning("%s; keeping the addresses known so far", error.message)
            return
        if not is_text_map(table):
            log.warning(
                "%s is not an object of texts; keeping the addresses known so far", self._path
            )
            return
        self._table = table

    def __call__(self, netloc: str) -> str | None:
        """`127.0.0.1:<port>` for `<host>:<port>`; addresses on this machine stand for
        themselves."""
        address = self._table.get(netloc)
        if address is None and netloc.startswith(("127.0.0.1:", "localhost:")):
            return netloc
        return address


class BrokerService:
    """Everything the broker process does."""

    def __init__(
        self,
        run: Path,
        js: JetStreamContext,
        courier: Courier,
        ingress: BrokerIngress,
        counters: DeliveryCounters,
        *,
        troubles: BrokerTroubles,
    ) -> None:
        self._troubles = troubles
        self._objects = run / "objects.json"
        self._addresses = ServiceAddresses(run / "addresses.json")
        self._report = run / "broker.json"
        self._js = js
        self._courier = courier
        self._ingress = ingress
        self._counters = counters
        self._running: dict[tuple[str, str], tuple[TriggerDispatcher, asyncio.Task[None]]] = {}
        self._brokers: dict[tuple[str, str], objects.KnativeBroker] = {}

    async def watch_files(self) -> None:
        """Follow objects.json until cancelled."""
        seen: tuple[int, int] | None = None
        try:
            while True:
                self._addresses.refresh_file()
                stamp = _stamp_file(self._objects)
                if stamp is not None and stamp != seen:
                    try:
                        await self.apply_objects(objects.load_objects(self._objects))
                        seen = stamp
                        self._troubles.clear_trouble("the applied objects")
                    except (nats.errors.Error, LocalError, StoreError, TimeoutError) as error:
                        why = f"the broker can't follow them: {error or type(error).__name__}"
                        self._troubles.note_trouble("the applied objects", why)
                        log.warning(
                            "can't apply %s yet: %s",
                            self._objects.name,
                            error or type(error).__name__,
                        )
                self._troubles.write_file()
                await asyncio.sleep(POLL)
        finally:
            await self._stop_trigger(list(self._running))

    async def apply_objects(self, desired: objects.KnativeObjects) -> None:
        """Make streams, consumers and dispatchers what the objects say."""
        for key, broker in desired.brokers.items():
            if self._brokers.get(key) != broker:
                await ensure_stream(
                    self._js,
                    broker.stream,
                    [f"{broker.subject}.>"],
                    max_age=broker.max_age,
                    max_bytes=broker.max_bytes,
                )
                self._brokers[key] = broker
        self._brokers = {
            key: broker for key, broker in self._brokers.items() if key in desired.brokers
        }
        gone = [key for key in self._running if key not in desired.triggers]
        changed = [
            key
            for key, (dispatcher, _) in self._running.items()
            if key in desired.triggers and dispatcher.trigger != desired.triggers[key]
        ]
        await self._stop_trigger(gone + changed)
        for key, trigger in desired.triggers.items():
            if key not in self._running:
                await self._start_trigger(key, trigger)
        await self._forget_trigger(desired)
        # events are taken only when every Trigger's consumer is there to see them
        self._ingress.brokers = dict(desired.brokers)
        for name, why in desired.refused.items():
            log.error("%s is not delivered: %s", name, why)
        write_json(
            self._report,
            {
                "triggers": [f"{namespace}/{name}" for namespace, name in self._running],
                "refused": dict(desired.refused),
            },
        )

    async def _start_trigger(self, key: tuple[str, str], trigger: objects.KnativeTrigger) -> None:
        broker = self._brokers[trigger.namespace, trigger.broker]
        dispatcher = TriggerDispatcher(
            js=self._js,
            courier=self._courier,
            ingress=self._ingress,
            broker=broker,
            trigger=trigger,
            resolve=self._addresses,
            counters=self._counters,
            troubles=self._troubles,
        )
        await dispatcher.ensure_consumer()
        self._running[key] = (
            dispatcher,
            asyncio.create_task(dispatcher.run_forever(), name=f"trigger {trigger.name}"),
        )
        log.info("trigger %s/%s -> %s", trigger.namespace, trigger.name, trigger.subscriber)

    async def _stop_trigger(self, keys: list[tuple[str, str]]) -> None:
        tasks = [self._running.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for namespace, name in keys:
            self._troubles.clear_trouble(f"trigger {namespace}/{name}")

    async def _forget_trigger(self, desired: objects.KnativeObjects) -> None:
        """Consumers of Triggers that are gone go too; one that comes back later starts with what is
        new then.
        """
        durables = {trigger.durable for trigger in desired.triggers.values()}
        refused = {
            f"KN_SUB_{name.removeprefix('trigger ').replace('/', '_').replace('.', '_')}"
            for name in desired.refused
        }
        for broker in desired.brokers.values():
            for consumer in await self._js.consumers_info(broker.stream):
                if consumer.name.startswith("KN_SUB_") and consumer.name not in durables | refused:
                    await self._js.delete_consumer(broker.stream, consumer.name)
                    log.info("consumer %s removed with its trigger", consumer.name)


async def serve_broker(
    run: Path,
    *,
    nats_url: str,
    port: int,
    limit: int = LIMIT,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the broker until cancelled; `run` is the state folder's `run/`."""
    client = await connect_client(nats_url, name="broker", wait=60)
    js = client.jetstream(timeout=5)
    registry = CollectorRegistry()
    publisher = await Publisher(client, linger=LINGER).start()
    troubles = BrokerTroubles(run)
    ingress = BrokerIngress(
        publisher, lambda: client.is_connected, registry, limit=limit, troubles=troubles
    )
    courier = Courier()
    service = BrokerService(
        run, js, courier, ingress, DeliveryCounters(registry), troubles=troubles
    )
    server = EventServer(ingress.handle_request, limit=limit)
    try:
        try:
            await server.start("127.0.0.1", port)
        except OSError as error:
            raise LocalError(f"the broker can't listen on port {port}: {error.strerror}") from error
        ready()
        await service.watch_files()
    finally:
        await server.close()
        courier.close_idle()
        await publisher.stop()
        await client.close()


def _stamp_file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino
