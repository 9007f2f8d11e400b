"""The decision service put together: state, loop, HTTP."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client import CollectorRegistry

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.clients.nats import connect_client, ensure_contract_stream
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.streams import DEAD_LETTERS
from driftloop.retrain.store import DecisionStore
from driftloop.services.application import ApplicationServer
from driftloop.services.bootstrap import serve_http
from driftloop.services.decision.data import DataLook
from driftloop.services.decision.deadletters import DeadLetters
from driftloop.services.decision.handler import DecisionHandlers
from driftloop.services.decision.head import HeadReader
from driftloop.services.decision.inbox import InboxFolder, InboxWatch
from driftloop.services.decision.labels import LabelDoor
from driftloop.services.decision.links import tell_pages
from driftloop.services.decision.loop import DecisionLoop
from driftloop.services.decision.pruned import PruneWatch
from driftloop.services.decision.tracking import TrackingLoop


@dataclass(frozen=True)
class DecisionOptions:
    """Options and environment of the decision service."""

    namespace: str
    pipeline: str
    policy: RetrainPolicy
    webhook: str
    rollback_webhook: str
    """URL of the webhook for rollbacks; empty when no monitor rolls back."""
    broker: str
    nats_url: str
    reader_url: str
    """URL of NATS as a reader of verdicts."""
    token: str
    head: HeadReader | None
    look: DataLook | None
    data: str
    """Folder of the batches."""
    labels: bool
    """A monitor of the pipeline reads labels."""
    bucket: StoreLocation | None
    """Bucket of runs; None without one."""
    tracking: str
    """URL of a tracking server; empty without one."""
    tracking_name: str
    """Experiment and model there; empty for the pipeline's name."""
    environment: Mapping[str, str] = field(repr=False)
    """Credentials of object store and tracking server."""
    kubernetes_url: str | None
    host: str
    port: int


async def serve_decision(options: DecisionOptions) -> None:
    """Run until cancelled."""
    namespace, pipeline = options.namespace, options.pipeline
    client = await connect_client(options.nats_url, name=f"{pipeline}-decision", wait=60)
    js = client.jetstream(timeout=5)
    reader = await connect_client(options.reader_url, name=f"{pipeline}-decision-reader", wait=60)
    registry = CollectorRegistry()
    try:
        await ensure_contract_stream(js, DEAD_LETTERS)
        store = await DecisionStore.open_bucket(js, namespace, pipeline)
        async with aiohttp.ClientSession(trust_env=True) as session:
            loop = DecisionLoop(
                store,
                options.policy,
                namespace=namespace,
                pipeline=pipeline,
                session=session,
                webhook=options.webhook,
                rollback_webhook=options.rollback_webhook,
                token=options.token,
                broker=options.broker,
                kubernetes=KubernetesClient.from_url(options.kubernetes_url)
                if options.kubernetes_url
                else None,
                head=options.head,
                look=options.look,
                verdicts=reader.jetstream(timeout=5),
                registry=registry,
            )
            tell_pages(options.environment, registry)
            letters = DeadLetters(
                js, session, namespace=namespace, pipeline=pipeline, registry=registry
            )
            labels = LabelDoor(
                session,
                namespace=namespace,
                pipeline=pipeline,
                broker=options.broker,
                registry=registry,
            )
            tracking = None
            if options.tracking:
                tracking = TrackingLoop.from_environment(
                    options.environment,
                    pipeline=pipeline,
                    url=options.tracking,
                    name=options.tracking_name,
                    head=options.head,
                    registry=registry,
                )
            inbox = None
            if options.labels and options.bucket is not None:
                store_of_files = ObjectStore.from_environment(options.environment)
                folder = InboxFolder(store_of_files, options.bucket, pipeline)
                inbox = InboxWatch(folder, labels, registry)
            door = DecisionHandlers(
                loop,
                js,
                reader.jetstream(timeout=5),
                namespace=namespace,
                pipeline=pipeline,
                on=options.policy.heeded,
                token=options.token,
                policy=options.policy,
                data=options.data,
                registry=registry,
                letters=letters,
                labels=labels if options.labels else None,
                tracking=tracking,
                inbox=inbox,
            )
            async with (
                serve_http(ApplicationServer(door.build_application()), options.host, options.port),
                asyncio.TaskGroup() as group,
            ):
                group.create_task(letters.watch_waiting())
                group.create_task(loop.run())
                if options.look is not None:
                    look = options.look
                    pruned = PruneWatch(look.store, look.bucket, pipeline, registry)
                    group.create_task(pruned.watch())
                if inbox is not None:
                    group.create_task(inbox.watch())
                if tracking is not None:
                    group.create_task(tracking.run())
    finally:
        await reader.close()
        await client.close()
