"""The decision service as a process: a real NATS server, real events, a webhook and an API that answer."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.processes import Process, free_port, nats, until, url

from driftloop.clients import events
from driftloop.clients.nats import (
    ensure_contract_stream,
    key_value,
    open_connection,
    publish_message,
)
from driftloop.contract.documents import DocumentError
from driftloop.contract.events import run_id, verdict_id
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.labels import LabelBatch, LabelReceipt
from driftloop.contract.outcomes import is_time
from driftloop.contract.quiet import DAYS
from driftloop.contract.streams import DECISIONS, VERDICTS, DetectorStreams, decision_key
from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.rollouts.rollback import roll_back
from driftloop.operations.traces.labels import load_labels
from driftloop.operations.watching.suspend import DecisionEndpoint
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.retrain.decision import is_claimed
from driftloop.retrain.rollbacks import describe_rollback
from driftloop.retrain.state import (
    ClaimEvent,
    ClaimRollbackEvent,
    EndEvent,
    MoveEvent,
    RetrainState,
)
from driftloop.retrain.store import DecisionStore, apply_once
from tests.pipelines import SPEC, version

TOKEN = "s3cret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = nats(tmp_path_factory.mktemp("nats")).start()
    yield process
    process.kill()


class World:
    """What surrounds the service: the EventSource's webhook and the Kubernetes API."""

    def __init__(self) -> None:
        self.fired: list[dict[str, Any]] = []
        self.ordered: list[dict[str, Any]] = []
        self.workflows: dict[str, dict[str, Any]] = {}
        self.refuse = 0
        self.heard: list[events.Event] = []
        self.deaf = 0
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            found = self.workflows.get(request.path.rsplit("/", 1)[-1])
            return web.json_response(found) if found else web.Response(status=404)
        if request.path == "/broker":
            event = events.from_http(request.headers, await request.read())
            if self.deaf:
                self.deaf -= 1
                return web.Response(status=503)
            self.heard.append(event)
            return web.Response(status=202)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        calls = self.ordered if request.path == "/rollback" else self.fired
        calls.append(json.loads(await request.read()))
        return web.Response(text="success")


class Service:
    """The service under test and what a Trigger would do to it."""

    def __init__(self, process: Process, world: World, server: Process, pipeline: str) -> None:
        self.process = process
        self.world = world
        self.server = server
        self.pipeline = pipeline
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))

    async def store(self, event: events.Event) -> None:
        """Keep the verdict of an event as its detector does, before it is told."""
        verdict = event.parse_json()
        names = (verdict["detector"], verdict["release"])
        subject = DetectorStreams("n", self.pipeline, *names).verdicts
        async with open_connection(url(self.server), name="test") as js:
            await ensure_contract_stream(js, VERDICTS)
            await publish_message(js, subject, event.body, message_id=event.id)

    async def alarm(self, window: int, **other: Any) -> int:
        """Store a verdict and post its event."""
        event = self.verdict(window, **other)
        await self.store(event)
        return await self.post(event)

    async def post(self, event: events.Event, path: str = "/") -> int:
        address = f"http://127.0.0.1:{self.process.port}{path}"
        async with self.session.post(
            address, data=event.body, headers=events.to_http(event)
        ) as answer:
            return answer.status

    def verdict(
        self, window: int, *, alarm: bool = True, detector: str = "drift", **other: Any
    ) -> events.Event:
        data = {"detector": detector, "release": "r1", "window": window, "alarm": alarm, **other}
        id = verdict_id("n", self.pipeline, detector, "r1", window)
        return events.make_event(
            f"dev.driftloop.{detector}", "test", data, id=id, inferenceservicename=self.pipeline
        )

    async def state(self) -> RetrainState:
        async with open_connection(url(self.server), name="test") as js:
            return await (await DecisionStore.open_bucket(js, "n", self.pipeline)).read_state()

    async def apply(self, event: Any) -> RetrainState:
        return await asyncio.to_thread(apply_once, url(self.server), "n", self.pipeline, event)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    it = World()
    runner = web.ServerRunner(web.Server(it.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.port = runner.addresses[0][1]
    yield it
    await runner.cleanup()


@pytest.fixture
async def service(
    server: Process, world: World, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Service]:
    pipeline = "p" + str(abs(hash(request.node.name)) % 10**8)
    port = free_port()
    policy = {"consecutive": 2, "cooldown": 0, "whileRunning": "drop", "budget": 4, "on": ["drift"]}
    policy |= getattr(request, "param", {})
    labels = policy.pop("labels", False)
    argv = [
        sys.executable,
        "-m",
        "driftloop.services.decision",
        "--port",
        str(port),
        "--namespace",
        "n",
    ]
    argv += ["--pipeline", pipeline, "--policy", json.dumps(policy)]
    argv += [
        "--webhook",
        f"http://127.0.0.1:{world.port}/retrain",
        "--broker",
        f"http://127.0.0.1:{world.port}/broker",
        "--rollback-webhook",
        f"http://127.0.0.1:{world.port}/rollback",
    ]
    argv += ["--labels"] if labels else []
    environment = {
        "NATS_URL": url(server),
        "NATS_READER_URL": url(server),
        "DRIFTLOOP_WEBHOOK_TOKEN": TOKEN,
        "DRIFTLOOP_KUBERNETES_URL": f"http://127.0.0.1:{world.port}",
        "NO_PROXY": "127.0.0.1",
    }
    process = Process(argv, tmp_path / "decision.log", port, "/healthz", environment).start()
    it = Service(process, world, server, pipeline)
    yield it
    await it.session.close()
    process.kill()


async def test_two_alarms_in_a_row_fire_the_webhook_once(service: Service) -> None:
    assert await service.alarm(1) == 202
    assert await service.alarm(2) == 202
    # until the decision is claimed it is asked again
    await until(lambda: service.world.fired != [])
    body = service.world.fired[0]
    assert body["pipeline"] == service.pipeline
    assert body["cause"] == f"alarm {service.verdict(2).id}"
    state = await service.apply(
        ClaimEvent(f"{service.pipeline}-{body['decision']}", body["decision"], body["cause"])
    )
    assert state.live
    for window in range(3, 103):
        await service.store(service.verdict(window))
    statuses = await asyncio.gather(*(service.post(service.verdict(n)) for n in range(3, 103)))
    assert set(statuses) == {202}
    await asyncio.sleep(3)
    assert {one["decision"] for one in service.world.fired} == {body["decision"]}


@pytest.mark.parametrize(
    "service", [{"haltOn": ["rows"], "counts": {"rows": {"least": 2, "of": 3}}}], indirect=True
)
async def test_alarms_of_a_monitor_that_halts_halt_the_loop_and_tell_once(service: Service) -> None:
    assert await service.alarm(1, detector="rows") == 202
    assert (await service.state()).phase == "idle"
    assert await service.alarm(3, detector="rows") == 202
    state = await service.state()
    assert state.phase == "halted"
    why = f"alarm {verdict_id('n', service.pipeline, 'rows', 'r1', 3)} (monitor rows)"
    assert state.halt == why
    await until(lambda: service.world.heard != [])
    told = service.world.heard[0].parse_json()
    assert (told["waitsFor"], told["reason"]) == ("person", why)
    for window in (1, 2):
        assert await service.alarm(window) == 202
    assert service.world.fired == []
    await resume(service)
    assert (await service.state()).phase == "idle"


async def test_a_hundred_alarms_at_once_are_one_decision(service: Service) -> None:
    order = [(n * 37) % 100 + 1 for n in range(100)] * 2
    for window in sorted(set(order)):
        await service.store(service.verdict(window))
    await asyncio.gather(*(service.post(service.verdict(n)) for n in order))
    await until(lambda: service.world.fired != [])
    await asyncio.sleep(1)
    assert len({one["decision"] for one in service.world.fired}) == 1


async def test_an_alarm_that_no_detector_has_stored_changes_nothing(service: Service) -> None:
    """Whoever reaches the broker sends events: two alarms made a run, a window number a watermark."""
    for window in (1, 2, 5, 10**12):
        assert await service.post(service.verdict(window)) == 202
    await service.store(service.verdict(1, alarm=False))
    await service.store(service.verdict(3))
    for window in (1, 2, 4):
        assert await service.post(service.verdict(window)) == 202
    assert await service.state() == RetrainState(f"n.{service.pipeline}")
    assert await service.post(service.verdict(3)) == 202
    assert await service.alarm(4) == 202
    await until(lambda: service.world.fired != [])
    address = f"http://127.0.0.1:{service.process.port}/metrics"
    async with service.session.get(address) as answer:
        assert 'driftloop_decision_events_total{kind="unconfirmed"} 7.0' in await answer.text()


async def test_an_unclaimed_decision_is_fired_again(service: Service) -> None:
    service.world.refuse = 1
    await service.alarm(1)
    await service.alarm(2)
    await until(lambda: len(service.world.fired) >= 2)
    assert len({one["decision"] for one in service.world.fired}) == 1


async def test_a_killed_service_goes_on(service: Service) -> None:
    service.world.refuse = 10**6
    await service.alarm(1)
    service.process.kill()
    service.process.start()
    await service.alarm(2)
    await until(lambda: service.world.refuse < 10**6)
    service.process.kill()
    service.world.refuse = 0
    decision = (await service.state()).decision
    service.process.start()
    await until(lambda: service.world.fired != [])
    assert service.world.fired[0]["decision"] == decision


async def test_a_run_that_vanishes_loses_the_lease(service: Service) -> None:
    run = f"{service.pipeline}-person"
    service.world.workflows[run] = {"status": {"phase": "Running"}}
    await service.apply(ClaimEvent(run, "person", "person"))
    await asyncio.sleep(3)
    assert is_claimed(await service.state(), run)
    service.world.deaf = 1
    del service.world.workflows[run]
    await until(lambda: _phase_is(service, "idle", "cooling"), every=0.5)
    state = await service.state()
    assert (state.outcome, state.reason) == ("failed", f"workflow {run} is gone")
    # it can't say so itself any more: the service does, until it is heard, and never again
    told = await heard_for_good(service)
    reason = f"workflow {run} is gone"
    assert told.type == "dev.driftloop.run.finished"
    assert told.id == run_id("n", service.pipeline, run, "finished")
    data = told.parse_json()
    assert is_time(data.pop("time"))
    assert data == {
        "pipeline": service.pipeline,
        "run": run,
        "decision": "person",
        "outcome": "failed",
        "reason": reason,
    }


async def heard_for_good(service: Service) -> events.Event:
    """The one event that the service had to tell, which it does not tell again after a kill."""
    await until(lambda: service.world.heard != [])
    await until(lambda: _all_told(service))
    # the answer to it may have come too late for the service: it is told again until that is known
    before = len(service.world.heard)
    service.process.kill()
    service.process.start()
    await asyncio.sleep(4)
    assert len(service.world.heard) == before
    told, *others = service.world.heard
    assert {other.id for other in others} <= {told.id}
    return told


async def _all_told(service: Service) -> bool:
    """Whether the service knows that everything it had to tell was heard: killed before, it tells it again."""
    state = await service.state()
    return (state.untold, state.waits_untold) == ((), ())


async def _phase_is(service: Service, *phases: str) -> bool:
    return (await service.state()).phase in phases


async def test_the_end_of_a_run_is_believed_when_its_workflow_is_over(service: Service) -> None:
    run = f"{service.pipeline}-x"
    service.world.workflows["other"] = {"status": {"phase": "Running"}}
    await service.apply(ClaimEvent(run, "x", "person"))
    await service.apply(MoveEvent(run, "rolling-out", "other"))
    data = {
        "pipeline": service.pipeline,
        "run": run,
        "decision": "x",
        "outcome": "released",
        "reason": "",
    }
    ended = events.make_event(
        "dev.driftloop.run.finished", "test", data, inferenceservicename=service.pipeline
    )
    assert await service.post(ended) == 202
    state = await service.state()
    assert (state.phase, state.outcome) == ("rolling-out", None), "anybody may send the event"
    assert is_claimed(state, run)
    service.world.workflows["other"] = {"status": {"phase": "Succeeded"}}
    assert await service.post(ended) == 202
    assert await service.post(ended) == 202
    assert (await service.state()).outcome == "released"
    assert run in (await service.apply(EndEvent(run, "failed"))).ended


async def test_what_is_malformed_or_not_for_it_changes_nothing(service: Service) -> None:
    before = await service.state()
    verdict = service.verdict(1)
    assert await service.post(events.Event({}, b"nothing")) == 202
    assert await service.post(events.Event(verdict.attributes, b"\xff{")) == 202
    assert await service.post(service.verdict(0)) == 202
    assert await service.post(service.verdict(1, alarm=1)) == 202  # type: ignore[arg-type]
    assert await service.post(service.verdict(1, detector="outlier")) == 202
    assert await service.post(verdict.extend_attributes(inferenceservicename="another")) == 202
    assert await service.post(service.verdict(1, release="r\ud800")) == 202
    assert await service.post(verdict.extend_attributes(id="1" * 5000)) == 202
    assert await service.state() == before
    async with service.session.get(f"http://127.0.0.1:{service.process.port}/metrics") as answer:
        text = await answer.text()
    assert 'driftloop_decision_events_total{kind="malformed"} 6.0' in text
    assert 'driftloop_decision_phase{phase="idle"} 1.0' in text


async def test_metrics_show_what_runs_do_to_the_state_by_themselves(service: Service) -> None:
    """A run claims, moves and ends from its own steps; the service only reads of it."""

    async def shows(*lines: str) -> None:
        async def there() -> bool:
            async with service.session.get(
                f"http://127.0.0.1:{service.process.port}/metrics"
            ) as answer:
                text = await answer.text()
            return all(line in text for line in lines)

        await until(there, every=0.1)

    run = f"{service.pipeline}-000000000001"
    service.world.workflows[run] = {"status": {"phase": "Running"}}
    await service.apply(ClaimEvent(run, "000000000001", "schedule"))
    await shows(
        'driftloop_decision_phase{phase="running"} 1.0',
        'driftloop_decision_phase{phase="idle"} 0.0',
    )
    await service.apply(MoveEvent(run, "rolling-out"))
    await shows(
        'driftloop_decision_phase{phase="rolling-out"} 1.0',
        'driftloop_decision_outcome{outcome="rejected"} 0.0',
    )
    await service.apply(EndEvent(run, "rejected"))
    await shows(
        'driftloop_decision_phase{phase="idle"} 1.0',
        'driftloop_decision_outcome{outcome="rejected"} 1.0',
    )
    # how the last run ended is in the store, not in the process
    service.process.kill()
    service.process.start()
    await shows('driftloop_decision_outcome{outcome="rejected"} 1.0')


async def test_dead_letters_are_kept(service: Service) -> None:
    letter = service.verdict(1).extend_attributes(knativeerrordest="http://somewhere/")
    assert await service.post(letter, "/deadletter") == 202
    assert await service.post(letter, "/deadletter") == 202
    async with open_connection(url(service.server), name="test") as js:
        kept = await js.get_last_msg(
            "DRIFTLOOP_DEADLETTERS", f"driftloop.deadletters.n.{service.pipeline}"
        )
        assert events.unpack_event(kept.data or b"") == letter


async def ask_letters(service: Service, path: str = "", *, token: str = TOKEN) -> Any:
    address = f"http://127.0.0.1:{service.process.port}/deadletters{path}"
    headers = {"Authorization": f"Bearer {token}"}
    method = "POST" if path else "GET"
    async with service.session.request(method, address, headers=headers) as answer:
        return await answer.json() if answer.status == 200 else answer.status


async def test_only_a_person_sends_dead_letters_again_and_only_to_the_own_namespace(
    service: Service, world: World
) -> None:
    """The address in a letter is nobody's word: the service would post wherever it says."""
    for number, address in enumerate(
        (
            f"http://127.0.0.1:{world.port}/broker",
            "http://judge.other.svc.cluster.local/",
            "http://broker-filter.knative-eventing.svc.cluster.local/triggers/other/t/1",
            "ftp://judge.n.svc.cluster.local/",
        )
    ):
        letter = service.verdict(number + 1).extend_attributes(knativeerrordest=address)
        assert await service.post(letter, "/deadletter") == 202
    assert await ask_letters(service, token="guess") == 401
    assert await ask_letters(service, "/replay", token="guess") == 401
    listed = await ask_letters(service)
    assert (listed["waiting"], len(listed["letters"])) == (4, 4)
    result = await ask_letters(service, "/replay")
    assert (result["sent"], len(result["failed"]), result["waiting"]) == (0, 4, 4)
    assert all("is not a subscriber of n" in line for line in result["failed"])
    assert world.heard == []


async def test_dead_letters_are_counted_from_nought(service: Service) -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    async with service.session.get(f"http://127.0.0.1:{service.process.port}/metrics") as answer:
        assert 'driftloop_decision_events_total{kind="deadletter"} 0.0' in await answer.text()


async def test_a_person_halts_and_resumes_with_the_token(service: Service) -> None:
    address = f"http://127.0.0.1:{service.process.port}"
    async with service.session.post(f"{address}/halt", data="look first") as answer:
        assert answer.status == 401
    good = {"Authorization": f"Bearer {TOKEN}"}
    async with service.session.post(f"{address}/halt", data="look first", headers=good) as answer:
        assert await answer.json() == {"phase": "halted", "halt": "look first"}
    await service.alarm(1)
    await service.alarm(2)
    async with service.session.get(f"{address}/state") as answer:
        assert (await answer.json())["phase"] == "halted"
    async with service.session.post(f"{address}/resume", headers=good) as answer:
        assert (await answer.json())["phase"] == "idle"
    assert service.world.fired == []


async def test_a_token_that_is_no_text_is_a_wrong_token(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.process.port)
    writer.write(b"POST /halt HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"401"
    writer.close()


def empty_repository(folder: Path) -> Repository:
    remote = folder / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
    return Repository(f"file://{remote}", workdir=folder / "work", guard=refuse_harm)


async def resume(service: Service) -> None:
    address = f"http://127.0.0.1:{service.process.port}/resume"
    good = {"Authorization": f"Bearer {TOKEN}"}
    async with service.session.post(address, headers=good) as answer:
        assert answer.status == 200


async def why(service: Service) -> str:
    async with service.session.get(f"http://127.0.0.1:{service.process.port}/why") as answer:
        return str((await answer.json())["text"])


def commit_move(
    repository: Repository, name: str, step: Callable[[Release], Release], made: Version
) -> None:
    """Commit a move of the pipeline's release."""
    pipelines.commit_transition(
        repository, name, step, lambda before, after: TransitionMessage("Move", made)
    )


def restart_with(service: Service, repository: Repository) -> None:
    """Start the service anew, with a repository to follow."""
    service.process.kill()
    service.process.environment = {
        **service.process.environment, "DRIFTLOOP_GIT_URL": repository.url
    }  # fmt: skip
    service.process.start()


def start_with_releases(
    service: Service, folder: Path, first: str, second: str
) -> tuple[Repository, Version]:
    """Start the service anew with a repository in which a release was replaced by a second; the first one."""
    repository, name = empty_repository(folder), service.pipeline
    pipelines.commit_spec(repository, SPEC.replace("name: digits", f"name: {name}"))
    old, new = version("a", id=first), version("b", id=second)
    commit_move(repository, name, lambda release: record.release_first(release, old), old)
    commit_move(repository, name, lambda release: record.start_shadow(release, new), new)
    commit_move(repository, name, record.promote_candidate, new)
    restart_with(service, repository)
    return repository, old


TODAY = datetime.now(UTC).weekday()
QUIET = f"{DAYS[TODAY]}-{DAYS[(TODAY + 1) % 7]}"
"""Today and tomorrow."""


@pytest.mark.parametrize("service", [{"quietHours": {"during": [QUIET]}}], indirect=True)
async def test_an_alarm_of_quiet_hours_is_told_and_looked_at_again_when_they_are_over(
    service: Service,
) -> None:
    for window in (1, 2):
        assert await service.alarm(window) == 202
    assert (await service.state()).phase == "postponed"
    assert f"for these are quiet hours, {QUIET} (UTC)" in await why(service)
    await until(lambda: bool(service.world.heard))
    assert service.world.heard[0].parse_json()["waitsFor"] == "time"
    assert service.world.fired == []
    # the hours are taken out of the spec, and after two more windows the alarm is over
    for window, loud in ((3, True), (4, False), (5, True)):
        await service.store(service.verdict(window, alarm=loud))
    service.process.kill()
    policy = service.process.argv.index("--policy") + 1
    service.process.argv[policy] = json.dumps({"consecutive": 2, "on": ["drift"]})
    service.process.start()
    await until(lambda: _phase_is(service, "idle"))
    assert "drift did not alarm any longer after the quiet hours" in await why(service)
    assert service.world.fired == []


@pytest.mark.parametrize("service", [{"consecutive": 1, "hold": 3600}], indirect=True)
async def test_after_a_rollback_the_loop_holds_its_hand_until_somebody_resumes(
    service: Service, tmp_path: Path
) -> None:
    name = service.pipeline
    repository, _ = start_with_releases(service, tmp_path, "r1", "r2")
    # r1 was replaced: its alarms are of what nobody asks any more
    assert await service.alarm(1) == 202
    state = await service.state()
    assert (state.phase, state.stale) == ("idle", 1)
    assert "the alarm is about r1, production is r2" in await why(service)

    roll_back(CommitTarget(repository, "eve"), name, store=None, unchecked=True, report=print)
    await asyncio.sleep(2.1)
    assert await service.alarm(2) == 202
    assert (await service.state()).phase == "held"
    text = await why(service)
    assert f"after a person's commit: `Roll {name} back to r1`" in text
    assert f"`driftloop resume {name}` ends it" in text
    await until(lambda: bool(service.world.heard))
    told = service.world.heard[0]
    assert {event.id for event in service.world.heard} == {told.id}
    assert told.type == "dev.driftloop.loop.waits"
    assert told.parse_json()["waitsFor"] == "time"
    await resume(service)
    assert await service.alarm(3) == 202
    await until(lambda: bool(service.world.fired))
    # the same commit is known: it holds nobody a second time
    assert (await service.state()).hold is None


@pytest.mark.parametrize("service", [{"rollbackOn": ["quality"]}], indirect=True)
async def test_a_rollback_is_ordered_once_whoever_is_killed_and_told_as_git_has_it(
    service: Service, tmp_path: Path
) -> None:
    name = service.pipeline
    repository, old = start_with_releases(service, tmp_path, "r0", "r1")
    # a forged alarm, which no detector has stored, and one window less than it takes
    assert await service.post(service.verdict(2, detector="quality")) == 202
    assert await service.alarm(1, detector="quality") == 202
    assert (await service.state()).rollback is None
    service.world.refuse = 1
    assert await service.alarm(2, detector="quality") == 202
    assert (await service.state()).phase == "halted"
    # killed between its call of the webhook and the claim
    await until(lambda: len(service.world.ordered) >= 1)
    service.process.kill()
    service.process.start()
    await until(lambda: len(service.world.ordered) >= 2)
    assert len({each["decision"] for each in service.world.ordered}) == 1
    order = service.world.ordered[0]
    assert order["cause"] == f"alarm {service.verdict(2, detector='quality').id}"
    assert "to go back from r1 because of" in await why(service)
    workflow = f"{name}-rollback-{order['decision']}"
    await service.apply(ClaimRollbackEvent(workflow, order["decision"]))
    # the step dies after its commit, and says nothing
    carried_out = TransitionMessage("Roll back", old, left="r1", decision=order["decision"])
    pipelines.commit_transition(
        repository,
        name,
        partial(record.leave_production, decision=order["decision"], cause=order["cause"]),
        lambda before, after: carried_out,
    )
    service.world.workflows[workflow] = {"status": {"phase": "Failed"}}
    await until(lambda: _rollback_is(service, "rolled-back"))
    assert f"rolled back from r1 to r0 because of {order['cause']}" in await why(service)
    # that it halted is told twice if the service was killed before it knew that it was heard
    await until(lambda: len({event.id for event in service.world.heard}) == 2)
    assert {event.parse_json()["waitsFor"] for event in service.world.heard} == {"person"}
    async with service.session.get(f"http://127.0.0.1:{service.process.port}/metrics") as answer:
        assert 'driftloop_decision_rollback{outcome="rolled-back"} 1.0' in await answer.text()
    assert service.world.fired == []
    await resume(service)
    assert (await service.state()).phase == "idle"


async def _rollback_is(service: Service, outcome: str) -> bool:
    return describe_rollback(await service.state()) == outcome


@pytest.mark.parametrize("service", [{"consecutive": 1, "whileRunning": "remember"}], indirect=True)
async def test_no_run_is_asked_for_because_of_a_release_that_was_replaced_meanwhile(
    service: Service, tmp_path: Path
) -> None:
    """An alarm during a run is remembered without a look at git; before it starts a run, git is asked."""
    repository = empty_repository(tmp_path)
    name = service.pipeline
    pipelines.commit_spec(repository, SPEC.replace("name: digits", f"name: {name}"))
    first, second = version("a", id="r1"), version("b", id="r2")
    move = partial(commit_move, repository, name)

    move(lambda release: record.release_first(release, first), first)
    restart_with(service, repository)
    await until(lambda: _head_is_read(service))
    service.world.workflows[f"{name}-eve"] = {"status": {"phase": "Running"}}
    await service.apply(ClaimEvent(f"{name}-eve", "eve", "person eve", "r1"))
    assert await service.alarm(1) == 202
    assert (await service.state()).remembered is not None
    move(lambda release: record.start_shadow(release, second), second)
    move(record.promote_candidate, second)
    await asyncio.sleep(2.1)
    await service.apply(EndEvent(f"{name}-eve", "released"))
    await until(lambda: _phase_is(service, "idle"))
    state = await service.state()
    assert (state.remembered, state.stale) == (None, 1)
    assert "the alarm is about r1, production is r2" in await why(service)
    await asyncio.sleep(2.5)
    assert service.world.fired == []


@pytest.mark.parametrize("service", [{"consecutive": 1, "haltAfter": 2}], indirect=True)
async def test_after_too_many_bad_candidates_the_loop_halts_itself_and_tells_once(
    service: Service,
) -> None:
    for number, outcome in enumerate(("refused", "rejected")):
        run = f"{service.pipeline}-{number}"
        await service.apply(ClaimEvent(run, str(number), "schedule"))
        await service.apply(EndEvent(run, outcome, "accuracy 0.1"))
    await until(lambda: _phase_is(service, "halted"))
    text = await why(service)
    assert "2 candidates in a row were refused or rejected, the last one: accuracy 0.1" in text
    assert await service.alarm(1) == 202
    told = await heard_for_good(service)
    assert told.parse_json()["waitsFor"] == "person"
    async with service.session.get(f"http://127.0.0.1:{service.process.port}/metrics") as answer:
        assert "driftloop_decision_halted_itself 1.0" in await answer.text()
    await resume(service)
    assert await service.alarm(2) == 202
    await until(lambda: bool(service.world.fired))


OLDER = (Path(__file__).parent / "older-entries.jsonl").read_bytes().splitlines()
"""Entries as the first version of the decision stored them: lost, pending, rolling out, rejected, halted."""
GOES_ON = [
    (OLDER[0], "pending", "failed", "asked (once|[2-9] times) since", "alarm event-2"),
    (OLDER[1], "pending", None, "asked ", "alarm event-2"),
    (OLDER[2], "rolling-out", None, "run p-e34b21529b58 is rolled out", None),
    (OLDER[3], "pending", "rejected", "asked (once|[2-9] times) since", "alarm event-4"),
    (OLDER[4], "halted", "released", "was halted at 2025-11-28 03:23:20 UTC: look first", None),
]


@pytest.mark.parametrize("service", [{"whileRunning": "remember"}], indirect=True)
@pytest.mark.parametrize(
    ("entry", "phase", "outcome", "text", "cause"),
    GOES_ON,
    ids=["lost", "pending", "rolling-out", "rejected", "halted"],
)
async def test_the_entry_of_an_older_version_goes_on(
    service: Service, entry: bytes, phase: str, outcome: str | None, text: str, cause: str | None
) -> None:
    service.process.kill()
    service.world.workflows["p-e34b21529b58-release"] = {"status": {"phase": "Running"}}
    async with open_connection(url(service.server), name="test") as js:
        bucket = await key_value(js, DECISIONS.name, history=DECISIONS.history)
        await bucket.put(decision_key("n", service.pipeline), entry)
    service.process.start()
    await until(lambda: _phase_is(service, phase))
    if cause is not None:
        await until(lambda: bool(service.world.fired))
        assert service.world.fired[0]["cause"] == cause
    else:
        await asyncio.sleep(1)
        assert service.world.fired == []

    async def is_told() -> bool:
        return re.search(text, await why(service)) is not None

    await until(is_told, what=f"`{text}`")
    address = f"http://127.0.0.1:{service.process.port}"
    async with service.session.get(f"{address}/state") as answer:
        shown = await answer.json()
    assert (shown["phase"], shown["outcome"]) == (phase, outcome)
    async with service.session.get(f"{address}/metrics") as answer:
        metrics = await answer.text()
    assert outcome is None or f'driftloop_decision_outcome{{outcome="{outcome}"}} 1.0' in metrics


@pytest.mark.parametrize("service", [{"whileRunning": "remember"}], indirect=True)
async def test_what_an_older_version_withdrew_is_not_taken_for_another_releases(
    service: Service, tmp_path: Path
) -> None:
    """It kept the text of the cause only: about which release the alarms were is not known."""
    repository = empty_repository(tmp_path)
    pipelines.commit_spec(repository, SPEC.replace("name: digits", f"name: {service.pipeline}"))
    first = version("a", id="r1")
    pipelines.commit_transition(
        repository,
        service.pipeline,
        lambda release: record.release_first(release, first),
        lambda before, after: TransitionMessage("Move", first),
    )
    service.process.kill()
    async with open_connection(url(service.server), name="test") as js:
        bucket = await key_value(js, DECISIONS.name, history=DECISIONS.history)
        await bucket.put(decision_key("n", service.pipeline), OLDER[0])
    service.process.environment = {
        **service.process.environment, "DRIFTLOOP_GIT_URL": repository.url
    }  # fmt: skip
    service.process.start()
    await until(lambda: bool(service.world.fired))
    # git is read after the start: it must not end what is under way
    await until(lambda: _head_is_read(service))
    state = await service.state()
    assert (state.phase, state.cause, state.stale) == ("pending", "alarm event-2", 0)
    fired = service.world.fired[0]
    run = f"{service.pipeline}-{fired['decision']}"
    claim = ClaimEvent(run, fired["decision"], fired["cause"], production="r1")
    assert is_claimed(await service.apply(claim), run)


async def _head_is_read(service: Service) -> bool:
    return bool((await service.state()).head)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ('{"consecutive": 0}', "`consecutive` is `0`, must be an integer from 1 to 100"),
        (
            '{"whileRuning": "drop"}',
            "the retrain policy has an unknown key `whileRuning`, must be one of",
        ),
        ("[]", "must be a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_wrong_policy_is_a_clear_error(policy: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        RetrainPolicy.parse(policy)


READS_LABELS = pytest.mark.parametrize("service", [{"labels": True}], indirect=True)


async def label(service: Service, body: Any, token: str = TOKEN) -> tuple[int, str]:
    async with service.session.post(
        f"http://127.0.0.1:{service.process.port}/labels",
        data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"},
    ) as answer:
        return answer.status, await answer.text()


@READS_LABELS
async def test_labels_are_events_once_the_broker_has_them(service: Service) -> None:
    sent = [{"request": f"q{n}", "label": n} for n in range(250)]
    status, text = await label(service, {"labels": [*sent, {"request": "q", "label": None}]})
    assert status == 202
    receipt = LabelReceipt.read(json.loads(text))
    assert (receipt.accepted, receipt.malformed) == (250, 1)
    assert "label 251" in receipt.reasons[0]
    batches = [LabelBatch.read(event.parse_json()) for event in service.world.heard]
    assert [each.request for batch in batches for each in batch.labels] == [
        each["request"] for each in sent
    ]
    assert [len(batch.labels) for batch in batches] == [100, 100, 50]
    given = [batch.given for batch in batches]
    assert given == sorted(set(given))
    event = service.world.heard[0]
    assert (event.type, event.get("inferenceservicename")) == (
        "dev.driftloop.labels.given",
        service.pipeline,
    )
    assert await label(service, {"request": "q1", "label": ["a", True, 1.5]}) == (
        202,
        '{"accepted": 1, "malformed": 0, "reasons": []}',
    )


@READS_LABELS
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "is not JSON"),
        ([], "must be a label"),
        ("x", "must be a label"),
        ([{"request": "q", "label": 1}] * 10_001, "10001 labels, must be at most 10000"),
        ({"request": "", "label": 1}, '`request` is `\\"\\"`'),
        ({"request": "q", "label": {}}, "must be a text, a number or a boolean"),
        ({"request": "q", "label": "x" * 1025}, "must be a text, a number or a boolean"),
        ({"request": "q", "label": "\ud800"}, "must be a text, a number or a boolean"),
        ({"request": "q", "label": [1] * 1001}, "must be a text, a number or a boolean"),
        ({"request": "q", "label": 1, "when": 3}, "unknown key `when`"),
    ],
)
async def test_what_are_no_labels_is_refused_by_its_reason(
    service: Service, body: Any, says: str
) -> None:
    status, text = await label(service, body)
    assert (status, service.world.heard) == (400, [])
    assert says in text


@READS_LABELS
async def test_the_door_of_labels_is_bounded_and_wants_the_token(service: Service) -> None:
    one = {"request": "q", "label": 1}
    assert (await label(service, one, token="other"))[0] == 401
    assert (await label(service, b"x" * (1024 * 1024 + 1)))[0] == 413
    many = [one] * 3000
    statuses = [
        status for status, _ in await asyncio.gather(*(label(service, many) for _ in range(16)))
    ]
    assert set(statuses) == {202, 429}
    assert len(service.world.heard) == 30 * statuses.count(202)


@READS_LABELS
async def test_labels_that_the_broker_does_not_take_are_told_by_their_number(
    service: Service,
) -> None:
    service.world.deaf = 1
    sent = [{"request": f"q{n}", "label": n} for n in range(150)]
    status, text = await label(service, sent)
    assert status == 503
    assert json.loads(text)["accepted"] == 0
    file = service.process.log.with_name("labels.csv")
    file.write_text("id,label\n" + "".join(f"q{n},{n}\n" for n in range(2500)) + "q9,\n")
    service.world.heard.clear()
    service.world.deaf = 3
    decision = DecisionEndpoint(f"http://127.0.0.1:{service.process.port}", TOKEN)
    progress: list[int] = []
    loaded = await asyncio.to_thread(
        load_labels, decision, file, request="id", report=progress.append
    )
    assert (loaded.accepted, loaded.malformed, progress) == (2500, 1, [1000, 2000, 2500])
    assert "labels.csv, line 2502" in loaded.reasons[0]
    batches = [LabelBatch.read(event.parse_json()) for event in service.world.heard]
    found = [each.request for batch in batches for each in batch.labels]
    assert found == [f"q{n}" for n in range(2500)]


async def test_labels_that_no_monitor_reads_are_refused(service: Service) -> None:
    status, text = await label(service, {"request": "q", "label": 1})
    assert status == 404
    assert "`on: label`" in text
