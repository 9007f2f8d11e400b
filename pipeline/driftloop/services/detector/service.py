"""The detector service put together: streams, HTTP, scoring, emitter."""

import asyncio
import logging
from pathlib import Path

import aiohttp
from nats.js.api import DiscardPolicy
from prometheus_client import CollectorRegistry

from driftloop.clients.http import Server
from driftloop.clients.jetstream import Publisher
from driftloop.clients.nats import connect, ensure_stream
from driftloop.services.bootstrap import serve_http
from driftloop.services.detector import artifact
from driftloop.services.detector.config import Config
from driftloop.services.detector.detectors import fitted
from driftloop.services.detector.door import LIMIT, Door
from driftloop.services.detector.emit import Emitter
from driftloop.services.detector.judge import Judge
from driftloop.services.detector.names import VERDICT_SUBJECTS, VERDICTS, Names

log = logging.getLogger("detector")

DAY = 86_400.0
STREAM_BYTES = 1024**3
KEPT_VERDICTS = 1000


async def serve(
    names: Names, config: Config, folder: Path, *, nats_url: str, broker: str, host: str, port: int
) -> None:
    """Run until cancelled. The settings in `config` win over those the artifact was fitted with; its rows are its
    own."""
    reference = artifact.load(folder).reference
    detector = await asyncio.to_thread(fitted, config, reference)
    client = await connect(nats_url, name=f"{names.pipeline}-{names.detector}", wait=60)
    js = client.jetstream(timeout=5)
    registry = CollectorRegistry()
    publisher = await Publisher(client).start()
    door = Door(publisher, lambda: client.is_connected, names, registry)
    try:
        # what is not judged yet must never be thrown away: a full stream refuses, and the broker tries again later
        await ensure_stream(
            js,
            names.stream,
            [names.subjects],
            max_age=DAY,
            max_bytes=STREAM_BYTES,
            discard=DiscardPolicy.NEW,
        )
        await ensure_stream(js, VERDICTS, [VERDICT_SUBJECTS], max_msgs_per_subject=KEPT_VERDICTS)
        async with aiohttp.ClientSession(trust_env=True) as session:
            judge = Judge(js, names, config, detector, width=reference.shape[1], registry=registry)
            emitter = Emitter(js, names, session, broker, registry)
            await emitter.ensure()
            async with serve_http(Server(door.handle, limit=LIMIT), host, port):
                door.ready = True
                log.info("%s of %s scores release %s on port %d", config.kind, names.pipeline, names.release, port)
                async with asyncio.TaskGroup() as group:
                    group.create_task(judge.run())
                    group.create_task(emitter.run())
    finally:
        await publisher.stop()
        await client.close()
