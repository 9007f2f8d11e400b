"""The detector service put together: streams, HTTP, scoring, emitter."""

import asyncio
import logging
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from driftloop.clients.http import Server
from driftloop.clients.jetstream import Publisher
from driftloop.clients.nats import connect, ensure_contract_stream
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.services.bootstrap import serve_http
from driftloop.services.detector import artifact
from driftloop.services.detector.detectors import fitted
from driftloop.services.detector.emit import Emitter
from driftloop.services.detector.handler import LIMIT, Door
from driftloop.services.detector.scoring import Judge

log = logging.getLogger("detector")


async def serve(
    names: DetectorStreams, config: DetectorSettings, folder: Path, *, nats_url: str, broker: str, host: str, port: int
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
        await ensure_contract_stream(js, names.events_stream)
        await ensure_contract_stream(js, VERDICTS)
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
