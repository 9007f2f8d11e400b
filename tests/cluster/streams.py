"""What lies in the cluster's JetStream: events at the Broker, in the detectors' streams, verdicts, the decision."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.retrain.store import DecisionStore

REQUEST, RESPONSE = "io.seldon.serving.inference.request", "io.seldon.serving.inference.response"
USERS = ("knative", "detector", "judge", "decision")
"""Together they see every stream of the pipeline."""


@dataclass(frozen=True)
class Streams:
    """JetStream of one pipeline, read from outside, with the users that its parts connect as."""

    address: str
    namespace: str
    pipeline: str
    credential: Callable[[str], str]
    """`user:password` of a role, or of `knative`; empty where NATS asks nobody."""

    def broker(self):
        """Every event the Broker took and still holds."""
        return [
            _event(message)
            for message in self.read(f"KN_{self.namespace.upper()}__DEFAULT_KNE_TRIGGER")
        ]

    def seen(self, detector):
        """The events that a detector (or the judge) stored."""
        name = f"DRIFTLOOP_{self.namespace}_{self.pipeline}_{detector}".upper()
        return [events.unpack_event(message.data) for message in self.read(name)]

    def verdicts(self, detector, release):
        found = (json.loads(message.data) for message in self.read("DRIFTLOOP_VERDICTS"))
        return [
            verdict
            for verdict in found
            if (verdict["detector"], verdict["release"]) == (detector, release)
        ]

    def count(self, name):
        """Messages in a stream; 0 when there is none."""

        async def ask(js):
            try:
                return (await js.stream_info(name)).state.messages
            except nats.js.errors.NotFoundError:
                return 0

        return self._do(ask, of=name)

    def room(self, name):
        """Bytes that a stream reserves."""

        async def ask(js):
            return (await js.stream_info(name)).config.max_bytes

        return self._do(ask, of=name)

    def resize(self, name, size):
        """Let a stream reserve so many bytes; what it reserved before."""

        async def ask(js):
            config = (await js.stream_info(name)).config
            await js.update_stream(replace(config, max_bytes=size))
            return config.max_bytes

        return self._do(ask, of=name)

    def names(self):
        async def ask(js):
            return [info.config.name for info in await js.streams_info()]

        return sorted({name for user in USERS for name in self.do(ask, user)})

    def decision(self):
        async def ask(js):
            return await (
                await DecisionStore.open_bucket(js, self.namespace, self.pipeline)
            ).read_state()

        return self.do(ask, "decision")

    def read(self, name):
        """Every message of a stream, in order."""

        async def ask(js):
            try:
                last = (await js.stream_info(name)).state.last_seq
            except nats.js.errors.NotFoundError:
                return []
            config = ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                deliver_policy=DeliverPolicy.ALL,
                inactive_threshold=30,
                mem_storage=True,
            )
            info = await js.add_consumer(name, config)
            puller = await js.pull_subscribe_bind(consumer=info.name, stream=name)
            found = []
            while not found or found[-1].metadata.sequence.stream < last:
                try:
                    found += await puller.fetch(500, timeout=3)
                except nats.errors.TimeoutError:
                    break
            await js.delete_consumer(name, info.name)
            return found

        return self._do(ask, of=name)

    def url(self, user):
        credential = self.credential(user)
        return f"nats://{credential}@{self.address}" if credential else f"nats://{self.address}"

    def _do(self, ask, *, of):
        if of.startswith("KN_"):
            return self.do(ask, "knative")
        return self.do(ask, "judge" if of.endswith("_JUDGE") else "detector")

    def do(self, ask, user):
        """What `ask` gets from JetStream, connected as this user."""

        async def do():
            async with open_connection(self.url(user), name="cluster-test", wait=60) as js:
                return await ask(js)

        return asyncio.run(do())


def _event(message):
    """As Knative keeps it: attributes in headers, or the whole as JSON."""
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    if "ce-id" in headers:
        return events.from_http(headers, message.data)
    return events.from_http({"content-type": "application/cloudevents+json"}, message.data)


def by_request(found, type):
    """Request id -> {release: event}, of one type."""
    sides = defaultdict(dict)
    for event in found:
        if event.type == type:
            sides[event.get("requestid")][event.get("endpoint")] = event
    return sides
