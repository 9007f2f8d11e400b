"""The logger's configuration in a real Envoy: requests in, events out, nothing lost, nothing held up."""

import asyncio
import gzip
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.processes import PATIENCE, free_port, until
from support.promql import asked

from driftloop.local.ground.binaries import find_envoy
from driftloop.plan import make_plan as planned
from driftloop.resources.serving.logger import MAX_LOGGED, RequestLogger, envoy_bootstrap
from driftloop.resources.watching import series
from driftloop.spec import load_spec
from driftloop.text.dump import dump_yaml
from tests.spec.specs import changed

PREDICT = "/api/v1.0/predictions"
LATENCIES = 'envoy_cluster_upstream_rq_time_bucket le="+Inf"'


@dataclass
class Event:
    headers: dict[str, str]
    body: bytes


@dataclass
class Broker:
    """Takes events; `delay` makes it slow, and it refuses the first few."""

    events: list[Event] = field(default_factory=list)
    delay: float = 0.0
    refusals: int = 0
    start: Callable[[], Awaitable[None]] | None = None

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(self.delay)
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.events.append(
            Event({k.lower(): v for k, v in request.headers.items()} | {"path": request.path}, body)
        )
        return web.Response(status=202)

    async def until(self, count: int) -> list[Event]:
        # further tries of an event are up to 5 s apart
        for _ in range(1800):
            if len(self.events) >= count:
                await asyncio.sleep(0.05)
                return self.events
            await asyncio.sleep(0.05)
        raise AssertionError(f"{len(self.events)} events, expected {count}")


@dataclass
class Model:
    """Answers with what it was sent; what it saw is kept."""

    seen: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        body = await request.read()
        if request.path == "/fail":
            return web.Response(status=500, text="no")
        if body == b"not json":
            return web.json_response({"status": {"code": -1}}, status=400)
        if body.startswith(b"big answer"):
            return web.Response(
                body=b"a" * (MAX_LOGGED + 1), content_type="application/octet-stream"
            )
        return web.Response(body=body, content_type="application/json")


@dataclass
class Place:
    """Everything that stands, and the way in."""

    url: str
    http: aiohttp.ClientSession
    broker: Broker
    model: Model
    config: dict[str, Any]


async def serve(handler: Any, port: int) -> web.AppRunner:
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def local(config: dict[str, Any], *, broker: int, admin: int) -> dict[str, Any]:
    """The configuration with the broker and the admin door on this machine."""
    document = json.dumps(config)
    document = document.replace(
        '"address": "broker.test", "port_value": 80',
        f'"address": "127.0.0.1", "port_value": {broker}',
    )
    found: dict[str, Any] = json.loads(
        document.replace('"port_value": 9901', f'"port_value": {admin}')
    )
    return found


@asynccontextmanager
async def standing(
    folder: Path,
    *,
    releases: tuple[str, ...] = ("r1",),
    broker_away: bool = False,
    model_away: bool = False,
) -> AsyncIterator[dict[str, Place]]:
    broker, broker_port, admin = Broker(), free_port(), free_port()
    runners: list[web.AppRunner] = []

    async def start_broker() -> None:
        runners.append(await serve(broker.take, broker_port))

    broker.start = start_broker
    if not broker_away:
        await start_broker()
    http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
    places: dict[str, Place] = {}
    merged: dict[str, Any] = {}
    for release in releases:
        model, port, model_port = Model(), free_port(), free_port()
        if not model_away:
            runners.append(await serve(model.answer, model_port))
        logger = RequestLogger(
            service=f"digits-{release}",
            namespace="digits",
            deployment="digits",
            predictor=release,
            node="model",
            protocol="seldon",
            broker_host="broker.test",
            broker_port=80,
            broker_path="/digits/default",
            port=port,
            model_port=model_port,
            timeout=60,
        )
        config = local(envoy_bootstrap(logger), broker=broker_port, admin=admin)
        places[release] = Place(f"http://127.0.0.1:{port}", http, broker, model, config)
        if not merged:
            merged = config
        else:
            for part in ("listeners", "clusters"):
                merged["static_resources"][part] += config["static_resources"][part]
    file = folder / "envoy.yaml"
    file.write_text(dump_yaml(merged))
    argv = [
        find_envoy(),
        "-c",
        str(file),
        "--concurrency",
        "1",
        "--log-level",
        "warn",
        "--use-dynamic-base-id",
    ]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    try:
        for _ in range(1800):
            try:
                async with http.get(f"http://127.0.0.1:{admin}/ready") as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                assert process.returncode is None, (folder / "envoy.log").read_text()
            await asyncio.sleep(0.05)
        else:
            raise AssertionError((folder / "envoy.log").read_text())
        yield places
        said = (folder / "envoy.log").read_text()
        assert "script log" not in said, said
        assert "error" not in said.lower(), said
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await http.close()
        for runner in runners:
            await runner.cleanup()


async def ask(
    place: Place, body: bytes, *, path: str = PREDICT, **headers: str
) -> tuple[int, bytes, Any]:
    sent = {
        "content-type": "application/json",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    async with place.http.post(place.url + path, data=body, headers=sent) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_each_request_and_answer_becomes_an_event(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        status, body, headers = await ask(place, b'{"data": 1}', seldon_puid="abc")
        assert (status, body, headers["seldon-puid"]) == (200, b'{"data": 1}', "abc")
        events = {event.headers["ce-type"]: event for event in await place.broker.until(2)}
        assert set(events) == {
            "io.seldon.serving.inference.request",
            "io.seldon.serving.inference.response",
        }
        for event in events.values():
            assert event.body == b'{"data": 1}'
            named = {
                name: event.headers[f"ce-{name}"]
                for name in ("inferenceservicename", "namespace", "endpoint")
            }
            assert named == {
                "inferenceservicename": "digits",
                "namespace": "digits",
                "endpoint": "r1",
            }
            assert event.headers["ce-modelid"] == "model"
            assert event.headers["ce-protocol"] == "seldon"
            assert event.headers["ce-requestid"] == "abc"
            assert event.headers["ce-specversion"] == "1.0"
            assert event.headers["ce-time"].endswith("Z")
            assert event.headers["content-type"].startswith("application/json")
            assert event.headers["path"] == "/digits/default"
            assert uuid.UUID(event.headers["ce-id"]).version == 4
        assert len({event.headers["ce-id"] for event in events.values()}) == 2


async def test_a_request_without_id_gets_one_and_its_model_sees_it(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        _, _, headers = await ask(place, b"{}")
        assert uuid.UUID(headers["seldon-puid"])
        assert place.model.seen[0].headers["seldon-puid"] == headers["seldon-puid"]
        assert {event.headers["ce-requestid"] for event in await place.broker.until(2)} == {
            headers["seldon-puid"]
        }


async def test_nothing_is_lost_under_load(tmp_path: Path) -> None:
    count = 400
    async with standing(tmp_path) as places:
        place = places["r1"]
        place.broker.delay = 0.02
        bodies = [os.urandom(300) for _ in range(count)]
        gate = asyncio.Semaphore(40)

        async def one(index: int) -> bytes:
            async with gate:
                return (await ask(place, bodies[index], seldon_puid=str(index)))[1]

        assert await asyncio.gather(*(one(index) for index in range(count))) == bodies
        events = await place.broker.until(2 * count)
        assert len(events) == 2 * count
        assert len({event.headers["ce-id"] for event in events}) == 2 * count
        for kind in ("request", "response"):
            found = {
                e.headers["ce-requestid"]: e.body
                for e in events
                if e.headers["ce-type"].endswith(kind)
            }
            assert found == {str(index): body for index, body in enumerate(bodies)}


async def test_large_bodies_are_served_and_counted_but_not_posted(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        edge = os.urandom(MAX_LOGGED)
        assert (await ask(place, edge))[1] == edge
        assert {event.body for event in await place.broker.until(2)} == {edge}
        large = os.urandom(MAX_LOGGED * 3)
        assert (await ask(place, large))[:2] == (200, large)
        await ask(place, b"big answer")
        events = await place.broker.until(3)
        assert [event.body for event in events[2:]] == [b"big answer"]
        # both ways of the large one, and the large answer
        assert (await metrics(place))[
            "envoy_cluster_upstream_cx_none_healthy", "digits/digits-r1/unlogged"
        ] == 3


async def test_only_predictions_that_worked_are_logged_unless_asked_not_to(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        await ask(place, b"{}", seldon_skip_logging="true")
        await ask(place, b"{}", path="/metadata")
        await ask(place, gzip.compress(b"{}"), content_encoding="gzip", seldon_puid="packed")
        status, _, _ = await ask(place, b"not json", seldon_puid="bad")
        assert status == 400
        await ask(place, b"{}", path=PREDICT + "?x=1", seldon_puid="query")
        found = [
            (e.headers["ce-requestid"], e.headers["ce-type"].rpartition(".")[2])
            for e in await place.broker.until(4)
        ]
        assert sorted(found) == sorted(
            [
                ("packed", "response"),
                ("bad", "request"),
                ("query", "request"),
                ("query", "response"),
            ]
        )


async def test_a_broker_that_is_away_or_slow_delays_nobody(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        place.broker.delay = 60.0
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(20):
            assert (await ask(place, b"{}"))[0] == 200
        assert loop.time() - started < 50.0
        assert not place.broker.events


async def test_paths_of_the_executor_reach_the_microservice(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        for path in (
            "/api/v1.0/health/status",
            "/api/v1.0/metadata",
            "/ready",
            "/live",
            "/health/ping",
        ):
            async with place.http.get(place.url + path) as answer:
                assert answer.status == 200
        assert [request.path for request in place.model.seen] == [
            "/health/status", "/metadata", "/health/ping", "/health/ping", "/health/ping",
        ]  # fmt: skip


async def metrics(place: Place) -> dict[tuple[str, str], float]:
    """(metric, cluster) -> value, of one predictor's /prometheus."""
    async with place.http.get(place.url + "/prometheus") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    found: dict[tuple[str, str], float] = {}
    for line in lines:
        if line.startswith("#") or "envoy_cluster_name=" not in line:
            continue
        name, _, rest = line.partition("{")
        labels, _, value = rest.rpartition("} ")
        cluster = labels.split('envoy_cluster_name="')[1].split('"')[0]
        key = name + "".join(
            f" {part}" for part in labels.split(",") if "class" in part or part.startswith('le="')
        )
        found[key, cluster] = float(value)
    return found


async def test_each_predictor_has_its_own_metrics_in_a_shared_envoy(tmp_path: Path) -> None:
    async with standing(tmp_path, releases=("r1", "r2")) as places:
        for _ in range(3):
            await ask(places["r1"], b"{}")
        await ask(places["r2"], b"{}")
        await ask(places["r2"], b"x", path="/fail")

        async def merged() -> bool:
            """Latencies are merged once a second."""
            found = [
                (await metrics(places[name])).get((LATENCIES, f"digits/digits-{name}/model"))
                for name in ("r1", "r2")
            ]
            return found == [3, 2]

        await until(merged, every=0.2)
        one, two = await metrics(places["r1"]), await metrics(places["r2"])
        assert {cluster.rsplit("/", 1)[0] for _, cluster in one} == {"digits/digits-r1"}
        assert {cluster.rsplit("/", 1)[0] for _, cluster in two} == {"digits/digits-r2"}
        assert one["envoy_cluster_upstream_rq_completed", "digits/digits-r1/model"] == 3
        assert two["envoy_cluster_upstream_rq_completed", "digits/digits-r2/model"] == 2
        assert (
            two[
                'envoy_cluster_upstream_rq_xx envoy_response_code_class="5"',
                "digits/digits-r2/model",
            ]
            == 1
        )


async def test_requests_count_where_no_model_takes_them(tmp_path: Path) -> None:
    """Alerts and dashboards divide what failed by what they take for requests, so that must hold what failed."""
    plan = planned(
        load_spec(changed("model: Digits", "model: Digits, backend: plain"), path="p.yaml")
    )
    found = series.traffic_series(plan, "r1")
    (requests,), (errors,) = (asked(one)[0] for one in (found.requests, found.errors))
    async with standing(tmp_path, model_away=True) as places:
        cluster = "digits/digits-r1/model"
        assert (await metrics(places["r1"]))[
            requests, cluster
        ] == 0  # a counter that appears with 1 hides its first
        for _ in range(4):
            status, _, _ = await ask(places["r1"], b"{}")
            assert status == 503
        after = await metrics(places["r1"])
        assert (
            after[requests, cluster]
            == after[f'{errors} envoy_response_code_class="5"', cluster]
            == 4
        )


@pytest.mark.parametrize("release", ["r1"])
async def test_the_text_in_a_config_map_is_what_envoy_reads(tmp_path: Path, release: str) -> None:
    import yaml

    async with standing(tmp_path, releases=(release,)) as places:
        config = places[release].config
        assert yaml.safe_load(dump_yaml(config)) == config


async def test_the_metrics_say_how_long_the_process_has_run(tmp_path: Path) -> None:
    async with (
        standing(tmp_path) as places,
        places["r1"].http.get(places["r1"].url + "/prometheus") as answer,
    ):
        assert "envoy_server_uptime" in await answer.text()


async def test_a_broker_that_refuses_for_a_while_gets_each_event_once(tmp_path: Path) -> None:
    async with standing(tmp_path) as places:
        place = places["r1"]
        place.broker.refusals = 5
        for index in range(10):
            assert (await ask(place, b"{}", seldon_puid=str(index)))[0] == 200
        events = await place.broker.until(20)
        assert len({event.headers["ce-id"] for event in events}) == len(events) == 20


async def test_a_broker_that_is_away_for_a_second_gets_what_it_missed(tmp_path: Path) -> None:
    async with standing(tmp_path, broker_away=True) as places:
        place = places["r1"]
        for index in range(10):
            assert (await ask(place, b"{}", seldon_puid=str(index)))[0] == 200
        await asyncio.sleep(1)
        assert place.broker.start is not None
        await place.broker.start()
        events = await place.broker.until(20)
        assert len({event.headers["ce-id"] for event in events}) == len(events) == 20
