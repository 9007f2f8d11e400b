"""Delivery to one Trigger's subscriber: at least once, retried with back-off, then the dead letter.

The attempts of an event are counted by JetStream (an event that failed goes back with a delay), so
a broker that dies takes neither timers nor counts with it: the next one goes on where it was.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import CollectorRegistry, Counter

from driftloop.clients import events
from driftloop.clients.jetstream import Puller
from driftloop.clients.nats import read_position
from driftloop.errors import StoreError
from driftloop.local.knative import filters
from driftloop.local.knative.courier import Courier, UnreachableError
from driftloop.local.knative.ingress import TTL, BrokerIngress, type_token
from driftloop.local.knative.objects import KnativeBroker, KnativeTrigger
from driftloop.local.knative.troubles import BrokerTroubles

log = logging.getLogger("broker")

WORKERS = 64
BATCH = 256
RETRYABLE = frozenset({404, 408, 409, 429})
"""Knative's channel on JetStream takes 404 and 409 for the last word: kinder here, where a port that was another's a
moment ago may answer."""
MARGIN = 5.0
"""Seconds an event may wait between its fetch and its delivery, above the delivery's timeout."""


class FailedDelivery(Exception):  # noqa: N818
    """A delivery that did not succeed. `status` None: no answer."""

    def __init__(self, status: int | None, body: bytes = b"") -> None:
        super().__init__(
            f"answered {status}" if status is not None else body.decode(errors="replace")
        )
        self.status = status
        self.body = body

    @property
    def retryable(self) -> bool:
        """True for no answer, 5xx, and what CloudEvents' subscribers may be asked again after."""
        return self.status is None or self.status >= 500 or self.status in RETRYABLE


class DeliveryCounters:
    """Counters of deliveries, per Trigger."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "driftloop_broker_deliveries",
            "Attempts to deliver, by result",
            ["trigger", "result"],
            registry=registry,
        )


class TriggerDispatcher:
    """Delivers one Trigger until it is stopped."""

    def __init__(
        self,
        *,
        js: JetStreamContext,
        courier: Courier,
        ingress: BrokerIngress,
        broker: KnativeBroker,
        trigger: KnativeTrigger,
        resolve: Callable[[str], str | None],
        counters: DeliveryCounters,
        troubles: BrokerTroubles,
    ) -> None:
        self._troubles = troubles
        self._js = js
        self._courier = courier
        self._ingress = ingress
        self._broker = broker
        self.trigger = trigger
        self._resolve = resolve
        self._counters = counters.deliveries
        self._label = f"{trigger.namespace}/{trigger.name}"
        self._delivered = self._counters.labels(self._label, "delivered")
        self._wants = filters.compile_filter(trigger.attributes)
        self._queue: asyncio.Queue[Msg] = asyncio.Queue(maxsize=BATCH)
        self._troubled = False

    async def ensure_consumer(self) -> None:
        """The durable consumer exists; a new one starts with the next event."""
        event_type = self.trigger.attributes.get("type")
        subject = (
            f"{self._broker.subject}.{type_token(event_type)}"
            if event_type
            else f"{self._broker.subject}.>"
        )
        await self._js.add_consumer(
            self._broker.stream,
            ConsumerConfig(
                durable_name=self.trigger.durable,
                deliver_policy=DeliverPolicy.NEW,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self.trigger.delivery.timeout + MARGIN,
                max_ack_pending=1000,
                max_deliver=-1,
                filter_subject=subject,
            ),
        )

    async def run_forever(self) -> None:
        """Deliver until cancelled, whatever becomes of NATS meanwhile."""
        workers = [asyncio.create_task(self._work_queue()) for _ in range(WORKERS)]
        try:
            while True:
                try:
                    await self.ensure_consumer()
                    await self._feed_queue()
                except (nats.errors.Error, StoreError, TimeoutError) as error:
                    why = str(error) or type(error).__name__
                    self._troubles.note_trouble(f"trigger {self._label}", why)
                    log.warning("%s: %s; again in 0.5 s", self._label, why)
                    await asyncio.sleep(0.5)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _feed_queue(self) -> None:
        puller = await Puller(
            self._js._nc, self._broker.stream, self.trigger.durable, batch=BATCH
        ).start()
        try:
            while True:
                batch = await puller.next_batch()
                if not self._troubled:
                    self._troubles.clear_trouble(f"trigger {self._label}")
                for message in batch:
                    await self._queue.put(message)
        finally:
            await puller.stop()

    async def _work_queue(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                await self._handle_message(message)
            except (nats.errors.Error, StoreError) as error:
                # not acknowledged, so it comes again
                log.warning("%s: %s", self._label, error)
            except Exception as error:
                log.exception("%s: an event can't be handled", self._label)
                await self._set_aside(message, error)

    async def _handle_message(self, message: Msg) -> None:
        try:
            event = events.unpack_event(message.data)
        except events.MalformedEventError as error:
            log.warning("%s: %s", self._label, error.message)
            await message.term()
            return
        if not self._wants(event.attributes):
            await message.ack()
            return
        delivery = self.trigger.delivery
        attempt = read_position(message).delivered
        if attempt <= delivery.retry + 1:
            try:
                await self._deliver_event(self.trigger.subscriber, event)
            except FailedDelivery as failure:
                if failure.retryable and attempt <= delivery.retry:
                    self._counters.labels(self._label, "retried").inc()
                    self._log_failure(failure)
                    await message.nak(delay=delivery.compute_delay(attempt))
                    return
                if not failure.retryable and attempt <= delivery.retry:
                    self._counters.labels(self._label, "dropped").inc()
                    log.warning(
                        "%s: %s answered %s to %s: dropped",
                        self._label,
                        *self._describe_failure(failure, event),
                    )
                    await message.term()
                    return
                await self._store_dead_letter(message, event, failure)
                return
            if self._troubled:
                self._troubled = False
                self._troubles.clear_trouble(f"trigger {self._label}")
            self._delivered.inc()
            await message.ack()
            return
        await self._store_dead_letter(
            message, event, FailedDelivery(None, b"a broker died while it delivered this event")
        )

    async def _set_aside(self, message: Msg, error: Exception) -> None:
        """An event that this program can't handle: again as often as any other, then the dead
        letter, with its attributes made fit for one."""
        attempt = read_position(message).delivered
        delivery = self.trigger.delivery
        try:
            if attempt <= delivery.retry:
                self._counters.labels(self._label, "retried").inc()
                await message.nak(delay=delivery.compute_delay(attempt))
                return
            reason = f"it can't be handled: {type(error).__name__}".encode()
            await self._store_dead_letter(
                message, _mend_event(message.data), FailedDelivery(None, reason)
            )
        except Exception:
            # not acknowledged, so it comes again
            log.exception("%s: an event can't be set aside", self._label)

    def _describe_failure(
        self, failure: FailedDelivery, event: events.Event
    ) -> tuple[str, int | None, str]:
        return self.trigger.subscriber, failure.status, event.id

    def _log_failure(self, failure: FailedDelivery) -> None:
        why = f"{self.trigger.subscriber} does not take its events: {failure}"
        self._troubles.note_trouble(f"trigger {self._label}", why)
        if not self._troubled:
            self._troubled = True
            log.warning("%s: %s: %s; retrying", self._label, self.trigger.subscriber, failure)

    async def _store_dead_letter(
        self, message: Msg, event: events.Event, failure: FailedDelivery
    ) -> None:
        """The dead letter; as long as that can't be delivered either, the event stays."""
        sink = self.trigger.delivery.dead_letter
        if sink is None:
            self._counters.labels(self._label, "dropped").inc()
            log.error(
                "%s: %s given up after %s; it has no dead letter sink",
                self._label,
                event.id,
                failure,
            )
            await message.term()
            return
        letter = event.extend_attributes(
            knativeerrordest=self.trigger.subscriber,
            knativeerrorcode=str(failure.status or 500),
            knativeerrordata=(failure.body or str(failure).encode())[:512].decode(errors="replace"),
        )
        try:
            await self._deliver_event(sink, letter)
        except FailedDelivery as second:
            log.warning("%s: dead letter sink %s: %s; again in 5 s", self._label, sink, second)
            await message.nak(delay=5.0)
            return
        self._counters.labels(self._label, "dead-lettered").inc()
        await message.ack()

    async def _deliver_event(self, url: str, event: events.Event) -> None:
        """POST it; a CloudEvent in the answer goes back into the broker. Failed otherwise."""
        address, path, host = self._resolve_target(url)
        hops = event.get(TTL)
        headers = events.to_http(event)
        headers.pop(f"ce-{TTL}", None)
        headers["Prefer"] = "reply"
        headers["Host"] = host
        try:
            answer = await self._courier.post_event(
                address, path, headers, event.body, patience=self.trigger.delivery.timeout
            )
        except UnreachableError as error:
            raise FailedDelivery(None, str(error).encode()) from error
        if not 200 <= answer.status < 300:
            raise FailedDelivery(answer.status, answer.body)
        if answer.body or "ce-id" in answer.headers:
            await self._store_reply(answer.headers, answer.body, int(hops or 1) - 1)

    async def _store_reply(self, headers: Mapping[str, str], body: bytes, hops: int) -> None:
        try:
            reply = events.from_http(headers, body)
        except events.MalformedEventError as error:
            raise FailedDelivery(
                502, b"the answer has a body that is not a CloudEvent: " + body[:100]
            ) from error
        try:
            await self._ingress.store_event(
                self._broker, reply.extend_attributes(**{TTL: str(hops)})
            )
        except StoreError as error:
            raise FailedDelivery(503, error.message.encode()) from error

    def _resolve_target(self, url: str) -> tuple[str, str, str]:
        """Address on this machine, path with query, and host as the cluster knows it."""
        parts = urlsplit(url)
        address = self._resolve(f"{parts.hostname}:{parts.port or 80}")
        if address is None:
            raise FailedDelivery(None, f"nothing answers for {parts.netloc}".encode())
        path = parts.path or "/"
        return address, f"{path}?{parts.query}" if parts.query else path, parts.netloc


def _mend_event(stored: bytes) -> events.Event:
    """A stored event with what its attributes can't have written out as escapes."""
    event = events.unpack_event(stored)
    return events.Event(
        {
            name: str(value).encode("ascii", "backslashreplace").decode()
            for name, value in event.attributes.items()
        },
        event.body,
    )
