"""What the decision service tells a tracking server, and how little it minds when that is away."""

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from support.processes import free_port, until
from support.stored_runs import Shelf

from driftloop.clients.mlflow import MlflowClient
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.tracking import TrackingStatus
from driftloop.operations.runs.run_reports import KnownRun
from driftloop.release import record
from driftloop.services.decision import tracking
from driftloop.services.decision.head import HeadReader
from driftloop.services.decision.tracking import TrackingLoop
from driftloop.tracking.mirror import TrackingServer
from driftloop.tracking.outbox import TrackingBox
from driftloop.tracking.roles import RoleVersion, load_versions
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

RUN = "digits-4f0c1d2e3a5b"


async def test_a_server_that_is_away_is_asked_again_and_told_of_in_one_line(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "LOOK", 0.05)
    shelf = await asyncio.to_thread(Shelf.open, tmp_path, s3_url)
    ended = RunOutcome(kind="released", reason="told", time="2026-01-31T10:00:00Z")
    known = KnownRun(pipeline="digits", cause="schedule", outcome=ended)
    await asyncio.to_thread(shelf.put_run, RUN, outcome=ended, known=known)
    version = shelf.make_version(RUN)
    await asyncio.to_thread(shelf.move, lambda it: record.release_first(it, version), version)
    box = TrackingBox(shelf.store, shelf.bucket, "digits")
    box.add(RUN)
    head = HeadReader(shelf.repository, "digits")
    assert head.read_text() == (None, None)
    await head.read_event()
    commit, text = head.read_text()
    assert commit == shelf.repository.tip()
    assert load_versions(text or "") == {"production": RoleVersion(version.id, RUN, version.model)}
    registry = CollectorRegistry()
    url = f"http://127.0.0.1:{free_port()}"
    loop = TrackingLoop(box, TrackingServer(MlflowClient(url), "digits"), head, registry)
    assert loop.status.text == f"{url}: all is sent"
    task = asyncio.create_task(loop.run())
    await until(lambda: loop.status.error, what="a look")
    since = loop.status.since
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (loop.status.waiting, loop.status.since) == (1, since)
    assert f"{url} can't be reached" in loop.status.text
    assert loop.status.text.endswith("; 1 run waits")
    assert b"driftloop_tracking_waiting 1.0" in generate_latest(registry)
    assert box.is_waiting(RUN)


def test_the_status_is_read_as_it_is_written() -> None:
    status = TrackingStatus(
        server="http://m", waiting=2, error="away", since="2026-01-31T10:00:00Z"
    )
    assert status.text == "away since 2026-01-31T10:00:00Z; 2 runs wait"
    document = json.dumps({"server": "http://m", "waiting": 2})
    assert TrackingStatus.read(json.loads(document)).text == "http://m: 2 runs wait to be sent"
