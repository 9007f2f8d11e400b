"""The detector service put together: streams, HTTP, scoring, emitter."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from driftloop.clients.http import EventServer
from driftloop.clients.jetstream import Publisher
from driftloop.clients.nats import connect_client, ensure_contract_stream
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.streams import DAY, VERDICTS, DetectorStreams
from driftloop.services.bootstrap import serve_http
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.function import FunctionProgram
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.rows.decoding import choose_decoder, keep_side
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.stream.emit import VerdictEmitter
from driftloop.services.detector.stream.handler import DetectorHandler
from driftloop.services.detector.stream.joined import JoinedEvents
from driftloop.services.detector.stream.judging import build_judge
from driftloop.services.detector.stream.kept import KeptEvents
from driftloop.services.detector.stream.labelled import LabelledEvents
from driftloop.services.detector.stream.paired import PairedEvents
from driftloop.services.detector.stream.scoring import WindowScorer
from driftloop.services.detector.stream.unjudged import UnjudgedWindows
from driftloop.services.detector.stream.windows import WindowRule
from driftloop.services.door import LIMIT

log = logging.getLogger("detector")

LONGEST_WAIT = 30 * DAY
"""Seconds that an answer waits for its label where the settings do not say it."""


async def serve_detector(
    names: DetectorStreams,
    config: DetectorSettings,
    folder: Path,
    *,
    nats_url: str,
    broker: str,
    function: str | None = None,
    fitted_for: str | None = None,
    host: str,
    port: int,
) -> None:
    """Run until cancelled; `function` is the URL of the user's function. `fitted_for` is the release that the artifact
    names when a later run has fitted it anew for this one. The settings in `config` win over
    those the artifact was fitted with; its rows are its own, and so is the release that it judges: events of
    another one are kept."""
    fitted = artifact.load_artifact(folder)
    if fitted.release is None:
        log.warning(
            "the artifact does not name the release that it was fitted for: an earlier version wrote it; "
            "it is taken for that of %s",
            names.release,
        )
    elif fitted.release == fitted_for:
        fitted = replace(fitted, release=names.release)
    wanted, config = config.kind, keep_side(fitted, config)
    if config.kind != wanted:
        log.warning(
            "it was fitted as %s, and goes on as that until a run fits it as %s: `driftloop trigger %s`",
            config.kind,
            wanted,
            names.pipeline,
        )
    program = FunctionProgram(function) if function is not None else None
    detector = await asyncio.to_thread(
        fit_detector, config, fitted.reference, fitted.profile, program, fitted.calibration
    )
    judge = await asyncio.to_thread(build_judge, detector, config, fitted.reference, fitted.profile)
    decoder = choose_decoder(fitted, config)
    client = await connect_client(nats_url, name=f"{names.pipeline}-{names.detector}", wait=60)
    js = client.jetstream(timeout=5)
    registry = CollectorRegistry()
    publisher = await Publisher(client).start()
    unjudged = UnjudgedWindows(
        publisher,
        names,
        registry,
        reference=fitted.release or names.release,
        rule=WindowRule.from_settings(config),
        decoder=decoder,
    )
    joined: JoinedEvents | None = None
    if isinstance(decoder, LabelledReader):
        joined = LabelledEvents(names, decoder, config.wait or LONGEST_WAIT)
    elif fitted.profile.inputs and config.kind == "estimate":
        joined = PairedEvents(names, LabelledReader(fitted.profile))
    kept = KeptEvents(js, names, registry, reference=unjudged.reference)
    scorer = WindowScorer(
        js,
        names,
        config,
        judge,
        decoder=decoder,
        registry=registry,
        unjudged=unjudged,
        joined=joined,
    )
    scorer.open.order = fitted.calibration.summary if fitted.calibration else None
    door = DetectorHandler(
        publisher,
        lambda: client.is_connected,
        names,
        registry=registry,
        unjudged=unjudged,
        kept=kept,
        find_window=scorer.open.build_record,
        joined=joined is not None,
    )
    try:
        await ensure_contract_stream(js, names.events_stream)
        await ensure_contract_stream(js, VERDICTS)
        if joined is None:
            await unjudged.count_kept(js)
        async with aiohttp.ClientSession(trust_env=True) as session:
            emitter = VerdictEmitter(js, names, session, broker, registry)
            await emitter.ensure_consumer()
            async with serve_http(EventServer(door.handle_request, limit=LIMIT), host, port):
                door.ready = True
                log.info(
                    "detector started: kind=%s pipeline=%s release=%s port=%d",
                    config.kind,
                    names.pipeline,
                    names.release,
                    port,
                )
                async with asyncio.TaskGroup() as group:
                    if unjudged.reference == names.release:
                        group.create_task(scorer.run())
                    else:
                        log.error(
                            "nothing is judged: the reference is of %s, must be of %s",
                            unjudged.reference,
                            names.release,
                        )
                    group.create_task(emitter.run())
                    group.create_task(unjudged.store_due())
                    group.create_task(kept.watch_age())
    finally:
        await publisher.stop()
        await client.close()
