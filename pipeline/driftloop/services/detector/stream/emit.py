"""Telling the broker what was found: every stored verdict becomes one event with an id of its
own, in order, however often it takes."""

import asyncio
import logging

import aiohttp
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import CollectorRegistry, Counter

from driftloop.clients import events
from driftloop.clients.events import EventRefusedError
from driftloop.clients.nats import HINT, read_messages
from driftloop.contract import events as contract
from driftloop.contract.distributions import DISTRIBUTIONS
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.errors import StoreError

log = logging.getLogger("detector")

ACK_WAIT = 12.0
"""Seconds after which a verdict that was not told comes again, as after a crash; a POST to the
broker takes at most 10.
"""


class VerdictEmitter:
    """Sends verdicts until it is cancelled. A durable consumer remembers which have been told."""

    def __init__(
        self,
        js: JetStreamContext,
        names: DetectorStreams,
        session: aiohttp.ClientSession,
        broker: str,
        registry: CollectorRegistry,
    ) -> None:
        self._js = js
        self._names = names
        self._session = session
        self._broker = broker
        self._sent = Counter(
            "driftloop_detector_verdicts_sent",
            "Verdicts that the broker has accepted",
            registry=registry,
        )
        self._troubled = False

    async def run(self) -> None:
        """Send for ever."""
        while True:
            try:
                await self._follow_verdicts()
            except (nats.errors.Error, StoreError, TimeoutError) as error:
                log.warning(
                    "reading verdicts failed, retrying in 0.5 s: %s", error or type(error).__name__
                )
                await asyncio.sleep(0.5)

    async def ensure_consumer(self) -> None:
        """The durable consumer exists. StoreError when it can't."""
        try:
            await self._js.add_consumer(
                VERDICTS.name,
                ConsumerConfig(
                    durable_name=self._names.emitter,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=ACK_WAIT,
                    max_ack_pending=1,
                    filter_subject=self._names.verdicts,
                ),
            )
        except nats.js.errors.APIError as error:
            raise StoreError(
                f"consumer {self._names.emitter}: {error.description}", hint=HINT
            ) from error

    async def _follow_verdicts(self) -> None:
        await self.ensure_consumer()
        subscription = await self._js.pull_subscribe_bind(
            consumer=self._names.emitter, stream=VERDICTS.name
        )
        async for message in read_messages(subscription, wait=2):
            await self._send_verdict(message)

    async def _send_verdict(self, message: Msg) -> None:
        event = self._make_event(message.data)
        wait = 0.1
        while True:
            try:
                await events.post_event(self._session, self._broker, event)
            except EventRefusedError as error:
                if not self._troubled:
                    log.warning("the broker did not accept a verdict, retrying: %s", error.message)
                    self._troubled = True
                await message.in_progress()
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
                continue
            self._troubled = False
            self._sent.inc()
            await message.ack()
            return

    def _make_event(self, data: bytes) -> events.Event:
        names = self._names
        verdict = events.Event({"id": "verdict"}, data).parse_json()
        verdict.pop("counts", None)
        if isinstance(details := verdict.get("details"), dict):
            details.pop(DISTRIBUTIONS, None)
        return events.make_event(
            contract.detector_type(names.detector),
            contract.event_source(names.namespace, names.pipeline, names.detector),
            verdict,
            id=contract.verdict_id(
                names.namespace,
                names.pipeline,
                names.detector,
                names.release,
                int(verdict["window"]),
            ),
            **{
                contract.PIPELINE: names.pipeline,
                contract.NAMESPACE: names.namespace,
                contract.RELEASE: names.release,
            },
        )
