"""Workflow objects, as JSON in a key-value bucket under `<namespace>.<name>`."""

import asyncio
import contextlib
import json
import logging
import random
import string
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.kv import KeyValue

from driftloop.clients.nats import HINT, key_value, list_keys, read_messages
from driftloop.contract.streams import WORKFLOWS
from driftloop.errors import StoreError
from driftloop.local.argo.nodes import ENDED
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo.times import now

BUCKET, STREAM = WORKFLOWS.name, WORKFLOWS.stream
CONSUMER = "argo-runner"

WRONG_SEQUENCE = 10071
"""JetStream's error for a write after another one."""

LOG = logging.getLogger("argo.store")

Json = dict[str, Any]
T = TypeVar("T")


class GoneError(StoreError):
    """The Workflow was deleted."""


class OvertakenError(StoreError):
    """The Workflow was written by another program since it was read."""


@dataclass(frozen=True)
class Change:
    """Workflow that was written (`workflow`) or deleted (None); `revision` grows with every
    write."""

    namespace: str
    name: str
    revision: int
    workflow: Json | None


class Workflows:
    """All Workflows of this state folder. Methods raise StoreError when NATS is away."""

    def __init__(self, js: JetStreamContext, bucket: KeyValue) -> None:
        self._js = js
        self._bucket = bucket

    @classmethod
    async def open(cls, js: JetStreamContext) -> "Workflows":
        """Open the bucket, and make it when it is missing."""
        return cls(js, await key_value(js, BUCKET))

    async def create(self, manifest: Json, *, namespace: str) -> tuple[str, bool]:
        """Store a new Workflow in its namespace (else `namespace`).

        Return its name, and false when one of that name exists.
        """
        workflow = admitted(manifest, namespace=namespace)
        metadata = workflow["metadata"]
        name = metadata["name"]
        try:
            await self._bucket.create(f"{metadata['namespace']}.{name}", _encoded(workflow))
        except nats.js.errors.KeyWrongLastSequenceError:
            return name, False
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(
                f"workflow {name} can't be stored: {error or type(error).__name__}", hint=HINT
            ) from error
        return name, True

    async def get(self, namespace: str, name: str) -> tuple[Json, int] | None:
        """Return a Workflow and its revision, or None."""
        try:
            entry = await self._bucket.get(f"{namespace}.{name}")
        except nats.js.errors.KeyNotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(
                f"workflow {name} can't be read: {error or type(error).__name__}", hint=HINT
            ) from error
        return json.loads(entry.value or b"{}"), int(entry.revision or 0)

    async def update(self, workflow: Json, revision: int) -> int:
        """Write a Workflow that was read at `revision`; return the new revision.

        GoneError, OvertakenError.
        """
        metadata = workflow["metadata"]
        key = f"{metadata['namespace']}.{metadata['name']}"
        try:
            return int(await self._bucket.update(key, _encoded(workflow), last=revision))
        except nats.js.errors.KeyWrongLastSequenceError as error:
            if await self.get(metadata["namespace"], metadata["name"]) is None:
                raise GoneError(f"workflow {metadata['name']} was deleted") from error
            raise OvertakenError(
                f"workflow {metadata['name']} was written by another program"
            ) from error
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(f"workflow {metadata['name']} can't be written", hint=HINT) from error

    async def stop(self, namespace: str, name: str, annotations: Mapping[str, str]) -> Json | None:
        """Set a Workflow's `shutdown` and annotations, which its controller heeds; None when it
        does not exist."""

        def order_stop(workflow: Json) -> None:
            workflow["spec"]["shutdown"] = "Stop"
            workflow["metadata"].setdefault("annotations", {}).update(annotations)

        return await self._change(namespace, name, order_stop)

    async def end_suspended(
        self, namespace: str, name: str, node: str, change: Mapping[str, Any]
    ) -> Json | None:
        """End a suspended node as a merge patch says; None when the Workflow does not exist.

        OvertakenError when the node is not suspended, or not any more.
        """

        def end_node(workflow: Json) -> None:
            stored = ((workflow.get("status") or {}).get("nodes") or {}).get(node) or {}
            if (stored.get("type"), stored.get("phase")) != ("Suspend", "Running"):
                raise OvertakenError(f"node {node} of workflow {name} is not suspended")
            workflow["status"]["nodes"][node] = {**stored, **change}

        return await self._change(namespace, name, end_node)

    async def _change(
        self, namespace: str, name: str, change: Callable[[Json], None]
    ) -> Json | None:
        """Change a Workflow as it is now, however often somebody else does meanwhile; None when it does not exist."""
        while (current := await self.get(namespace, name)) is not None:
            workflow, revision = current
            change(workflow)
            try:
                await self.update(workflow, revision)
            except GoneError:
                return None
            except OvertakenError:
                continue
            return workflow
        return None

    async def list_open(self, namespace: str) -> list[Json]:
        """Return the Workflows of a namespace that are not over."""
        try:
            keys = await list_keys(self._js, BUCKET)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise StoreError(f"workflows can't be listed: {error}", hint=HINT) from error
        found = [
            await self.get(namespace, key.partition(".")[2])
            for key in keys
            if key.startswith(f"{namespace}.")
        ]
        return [
            workflow
            for workflow, _ in filter(None, found)
            if (workflow.get("status") or {}).get("phase") not in ENDED
        ]

    async def delete(self, namespace: str, name: str, revision: int) -> None:
        """Delete a Workflow as it was at `revision`, leaving a marker.

        OvertakenError when it was written since.
        """
        try:
            await self._bucket.delete(f"{namespace}.{name}", last=revision)
        except nats.js.errors.APIError as error:
            if error.err_code == WRONG_SEQUENCE:
                raise OvertakenError(f"workflow {name} was written by another program") from error
            raise StoreError(
                f"workflow {name} can't be deleted: {error.description}", hint=HINT
            ) from error
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(f"workflow {name} can't be deleted", hint=HINT) from error

    async def forget(self, namespace: str, name: str, revision: int) -> None:
        """Remove a deletion's marker; later writes stay."""
        try:
            await self._js.purge_stream(
                STREAM, seq=revision + 1, subject=f"{WORKFLOWS.prefix}{namespace}.{name}"
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(f"workflow {name} can't be forgotten", hint=HINT) from error

    async def changes(self) -> AsyncIterator[Change]:
        """Yield every Workflow as it is now, then every change, at least once and oldest first.

        It goes on after NATS was away.
        """
        subscription = await self._subscribed()
        while True:
            try:
                async for message in read_messages(subscription, batch=100):
                    yield _change(message)
                    # without it, it comes again
                    with contextlib.suppress(nats.errors.Error):
                        await message.ack()
            except StoreError as error:
                LOG.warning("%s of %s: %s; it is made again", CONSUMER, STREAM, error.message)
            subscription = await until_stored(self._subscribed)

    async def _subscribed(self) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            durable_name=CONSUMER,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=30,
            max_ack_pending=1000,
            filter_subject=f"{WORKFLOWS.prefix}>",
        )
        try:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await self._js.delete_consumer(STREAM, CONSUMER)
            await self._js.add_consumer(STREAM, config)
            return await self._js.pull_subscribe_bind(CONSUMER, STREAM)
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(
                f"consumer of {STREAM}: {error or type(error).__name__}", hint=HINT
            ) from error


async def until_stored(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while NATS is away.

    Errors of the Workflow itself (GoneError, OvertakenError) are raised.
    """
    logged = False
    while True:
        try:
            return await call()
        except (GoneError, OvertakenError):
            raise
        except StoreError as error:
            if not logged:
                LOG.warning("%s; trying again until it works", error.message)
                logged = True
            await asyncio.sleep(0.5)


def admitted(manifest: Json, *, namespace: str) -> Json:
    """Return a Workflow as the API server would store it: named, dated, with a uid.

    NotUnderstoodError for other kinds.
    """
    kind = manifest.get("kind")
    if kind != "Workflow" or not str(manifest.get("apiVersion", "")).startswith("argoproj.io/"):
        raise NotUnderstoodError(
            f"{manifest.get('apiVersion')} {kind} can't be created here",
            hint="the local runtime creates Workflows only",
        )
    metadata = manifest.get("metadata") or {}
    name = metadata.get("name")
    if not name and metadata.get("generateName"):
        suffix = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))  # noqa: S311
        name = f"{metadata['generateName']}{suffix}"
    if not name:
        raise NotUnderstoodError(
            "a Workflow without a name can't be created", hint="set metadata.name or generateName"
        )
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": "Workflow",
        "metadata": {
            **{key: value for key, value in metadata.items() if key != "generateName"},
            "name": name,
            "namespace": metadata.get("namespace") or namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
        },
        "spec": manifest.get("spec") or {},
    }


def _encoded(workflow: Json) -> bytes:
    return json.dumps(workflow, separators=(",", ":")).encode()


def _change(message: Msg) -> Change:
    namespace, _, name = message.subject.removeprefix(WORKFLOWS.prefix).partition(".")
    deleted = (message.headers or {}).get("KV-Operation") in ("DEL", "PURGE")
    workflow = None if deleted else json.loads(message.data)
    return Change(namespace, name, message.metadata.sequence.stream, workflow)
