"""One stored world for all tests of pages: a pipeline with releases, runs and windows, some of them hostile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.console_world import (
    HOSTILE,
    PORT,
    StoredSource,
    make_window,
    open_console,
    recent,
    tell_verdicts,
)
from support.processes import Process, nats
from support.stored_runs import Shelf

from driftloop.console.answers import Console
from driftloop.console.application import build_application
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.runs import RunAlarm
from driftloop.operations.runs.run_reports import KnownRun
from driftloop.release import record
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

RUNS = ("digits-1111", "digits-2222", "digits-3333", "digits-4444")
RELEASED = RunOutcome.now("released", "the rollout ended")


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Process]:
    server = nats(tmp_path / "nats").start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Shelf:
    """A pipeline that was released twice; then a run was refused, and one failed."""
    shelf = Shelf.open(tmp_path_factory.mktemp("console"), s3_url)
    shelf.put_run(RUNS[0], outcome=RELEASED)
    first = shelf.make_version(RUNS[0])
    shelf.move(lambda release: record.release_first(release, first), first, outcome=RELEASED)
    alarm = RunAlarm(event="e", monitor="drift", release=first.id, first=3, last=4)
    known = KnownRun(
        pipeline="digits", cause="alarm 42: hue median 1 -> 2", outcome=RELEASED, alarm=alarm
    )
    shelf.put_run(
        RUNS[1], parameters=({"rate": 0.1}, {"rate": 0.2}), accuracies=(0.93, 0.98), chosen=1,
        outcome=RELEASED, known=known,
    )  # fmt: skip
    second = shelf.make_version(RUNS[1])
    shelf.move(lambda release: record.start_shadow(release, second), second)
    shelf.move(lambda release: record.set_canary(release, 10), second)
    shelf.move(record.promote_candidate, second, outcome=RELEASED)
    shelf.put_run(RUNS[2], accuracies=(0.6,), outcome=RunOutcome.now("refused", "accuracy 0.6"))
    failed = RunOutcome.now("failed", HOSTILE)
    shelf.put_run(
        RUNS[3],
        outcome=failed,
        known=KnownRun(pipeline="digits", cause=f"person eve: {HOSTILE}", outcome=failed),
    )
    return shelf


@pytest.fixture
def source(shelf: Shelf) -> StoredSource:
    """The world as it is at the begin of each test: window 3 and 4 alarm, and a column has a hostile name."""
    source = StoredSource(shelf.state)
    production = shelf.make_version(RUNS[0]).id
    for number in range(1, 7):
        alarm = number in (3, 4)
        columns = {"hue": 0.5 if alarm else 0.03, HOSTILE: 0.3 if alarm else 0.01}
        window = make_window(
            number, at=recent(10 - number), alarm=alarm, release=production, columns=columns
        )
        source.records.append(("digits", "digits", window))
    tell_verdicts(source)
    return source


@pytest.fixture
def console(shelf: Shelf, source: StoredSource) -> Console:
    return open_console(shelf, source)


@pytest.fixture
def stranger(console: Console) -> Iterator[TestClient]:
    """Somebody without the key."""
    client = TestClient(
        build_application(console), base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False
    )
    with client:
        yield client


@pytest.fixture
def visitor(console: Console) -> TestClient:
    """Somebody who has opened the printed address of a console that looks only when a test has it look."""
    client = TestClient(
        build_application(console), base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False
    )
    assert client.get(console.key.address).status_code == 303
    return client


@pytest.fixture
def owner(console: Console, stranger: TestClient) -> TestClient:
    """Somebody who has opened the printed address."""
    answer = stranger.get(console.key.address)
    assert answer.status_code == 303
    return stranger
