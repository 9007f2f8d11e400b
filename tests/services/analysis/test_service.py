"""The judge as a process, with a real nats-server and real pages of metrics."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.processes import PATIENCE, free_port

from driftloop.clients.nats import open_connection
from driftloop.release.judgement import read_last
from driftloop.services.analysis.service import AnalysisService, AnalysisSettings, resolve_addresses
from tests.services.analysis.test_metrics import ENVOY

JUDGE = [
    sys.executable,
    "-m",
    "driftloop.services.analysis",
    "--pipeline",
    "digits",
    "--namespace",
    "ml",
]


class Nats:
    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.process = self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen:
        binary = Path(sys.executable).parent / "nats-server"
        command = [binary, "-js", "-sd", self.folder, "-a", "127.0.0.1", "-p", str(self.port)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return process
            except OSError:
                assert time.monotonic() < deadline, "nats-server did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def nats(tmp_path):
    server = Nats(tmp_path / "nats")
    yield server
    if server.process.poll() is None:
        server.kill()


class Predictors:
    """Stands at the address of HTTP_PROXY, as the local runtime's Envoy does, and answers for every predictor."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(str(request.url))
        page = self.pages.get(request.url.host or "")
        return web.Response(status=503) if page is None else web.Response(text=page)


@pytest.fixture
async def predictors():
    found = Predictors()
    runner = web.ServerRunner(web.Server(found))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found.address = f"http://127.0.0.1:{port}"
    yield found
    await runner.cleanup()


class Running:
    def __init__(self, nats: Nats, predictors: Predictors, session: aiohttp.ClientSession) -> None:
        self.port, self.session = free_port(), session
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = os.environ | {
            "NATS_URL": nats.url,
            "HTTP_PROXY": predictors.address,
            # an empty one of the machine would count before it
            "http_proxy": predictors.address,
            "NO_PROXY": "127.0.0.1",
        }
        self.start()

    def start(self, *options: str) -> None:
        command = [*JUDGE, "--port", str(self.port), *options]
        self.process = subprocess.Popen(command, env=self.env)

    async def label(self, given: int, labels: list[dict]) -> int:
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.uuid4()),
            "ce-type": "dev.driftloop.labels.given",
            "ce-source": "driftloop/ml/digits/labels",
            "ce-inferenceservicename": "digits",
            "content-type": "application/json",
        }
        body = {"given": given, "labels": labels}
        async with self.session.post(self.url, json=body, headers=headers) as answer:
            return answer.status

    async def ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                async with self.session.get(self.url + "/healthz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            assert self.process.poll() is None, "the judge ended"
            await asyncio.sleep(0.05)
        raise AssertionError("the judge is not ready")

    async def respond(
        self,
        request: str,
        release: str,
        row: list[float],
        *,
        id: str | None = None,
        body: object = None,
        **other: str,
    ) -> int:
        headers = {
            "ce-specversion": "1.0",
            "ce-id": id or str(uuid.uuid4()),
            "ce-type": "io.seldon.serving.inference.response",
            "ce-source": "http://:8000/",
            "ce-requestid": request,
            "ce-inferenceservicename": "digits",
            "ce-namespace": "ml",
            "ce-endpoint": release,
            "content-type": "application/json",
        } | {f"ce-{name}": value for name, value in other.items()}
        text = json.dumps({"data": {"ndarray": [row]}} if body is None else body)
        async with self.session.post(self.url, data=text, headers=headers) as answer:
            return answer.status

    async def judgement(self, **query: object) -> dict:
        async with self.session.get(
            self.url + "/judgement", params={k: str(v) for k, v in query.items()}
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def judge(nats, predictors):
    async with aiohttp.ClientSession() as session:
        running = Running(nats, predictors, session)
        await running.ready()
        yield running
        running.kill()


BOTH = {"production": "r1", "candidate": "r2"}


async def both(judge: Running, request: str, ours: int, theirs: int) -> None:
    for release, best in (("r1", ours), ("r2", theirs)):
        row = [0.0] * 3
        row[best] = 1.0
        assert await judge.respond(request, release, row) == 202


async def test_agreement_of_joined_responses(judge):
    since = (await judge.judgement(**BOTH))["now"] - 1
    for n in range(20):
        await both(judge, f"q{n}", n % 3, n % 3 if n % 4 else (n + 1) % 3)
    said = await judge.judgement(**BOTH, since=since)
    assert (said["joined"], said["rows"], said["agreed"]) == (20, 20, 15)
    assert said["candidate"]["requests"] == 20
    last = (await judge.judgement(**BOTH))["last"]
    assert (last["joined"], last["asked"]) == (20, None)
    await judge.judgement(**BOTH, since=since, requests=500, seconds=600.0, compared=400)
    last = read_last(json.dumps(await judge.judgement(**BOTH)))
    assert last is not None
    assert last.waits.startswith("20 of 500 requests; 20 of 400 answers to compare; ")
    wrong = {**BOTH, "since": str(since), "requests": "many"}
    async with judge.session.get(f"{judge.url}/judgement", params=wrong) as answer:
        assert answer.status == 400
        assert "`compared` whole numbers" in (await answer.json())["error"]
    assert (await judge.judgement(**BOTH, since=said["now"] + 60))["joined"] == 0


async def test_numbers_are_compared_within_the_tolerance_that_is_asked(judge):
    since = (await judge.judgement(**BOTH))["now"] - 1
    for n in range(10):
        for release, answer in (("r1", 100.5 + n), ("r2", 100.5 + n + (1 if n < 6 else 30))):
            assert await judge.respond(f"n{n}", release, [answer]) == 202
    for tolerance, agreed in ((0.5, 0), (2.0, 6), (40.0, 10)):
        said = await judge.judgement(**BOTH, since=since, tolerance=tolerance)
        assert (said["joined"], said["rows"], said["agreed"]) == (10, 10, agreed)


async def test_answers_in_every_protocol_are_compared(judge):
    since = (await judge.judgement(**BOTH))["now"] - 1
    for protocol in ("seldon", "tensorflow", "v2"):
        for release, scores in (("r1", [0.1, 0.9, 0.8, 0.2]), ("r2", [0.3, 0.7, 0.1, 0.9])):
            rows = [scores[:2], scores[2:]]
            body = {
                "seldon": {"data": {"ndarray": rows}},
                "tensorflow": {"predictions": rows},
                "v2": {
                    "outputs": [{"name": "o", "shape": [2, 2], "datatype": "FP32", "data": scores}]
                },
            }[protocol]
            assert await judge.respond(protocol, release, [], body=body, protocol=protocol) == 202
    said = await judge.judgement(**BOTH, since=since)
    assert (said["joined"], said["rows"], said["agreed"]) == (3, 6, 3)


async def test_a_repeated_event_counts_once(judge):
    since = (await judge.judgement(**BOTH))["now"] - 1
    for _ in range(3):
        for release in ("r1", "r2"):
            assert await judge.respond("q", release, [1.0, 0.0], id=f"same-{release}") == 202
    said = await judge.judgement(**BOTH, since=since)
    assert (said["joined"], said["agreed"], said["production"]["requests"]) == (1, 1, 1)


async def test_an_event_that_is_none_is_answered_whatever_it_holds(judge):
    for odd in ({"specversion": "\ud800"}, {"a\ud800": "1"}, {"id": "\ud800"}):
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", **odd}
        headers = {"content-type": "application/cloudevents+json"}
        async with judge.session.post(judge.url, json=event, headers=headers) as answer:
            assert (answer.status, "\\ud800" in await answer.text()) == (202, True) or "id" in odd
            assert answer.status == 202
    request = b"POST / HTTP/1.1\r\nhost: x\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", judge.port)
    writer.write(request + b"ce-specversion: \xff\r\ncontent-length: 2\r\n\r\n{}")
    assert (await reader.readline()).split()[1] == b"202"
    writer.close()


async def test_errors_and_times_come_from_the_predictors(judge, predictors):
    page = ENVOY
    predictors.pages = {"digits-r1.ml.svc.cluster.local": page}
    since = (await judge.judgement(**BOTH))["now"]
    first = await judge.judgement(**BOTH, since=since)
    assert first["production"] == {
        "requests": 0,
        "errors": 0,
        "buckets": {"0.005": 0, "0.01": 0, "+Inf": 0},
        "refusals": {},
    }
    assert first["candidate"]["requests"] == 0
    page = page.replace(
        'class="5",envoy_cluster_name="digits/digits-r1/model"} 2',
        'class="5",envoy_cluster_name="digits/digits-r1/model"} 5',
    )
    page = page.replace('le="+Inf"} 100', 'le="+Inf"} 103').replace(
        'code="400",envoy_cluster_name="digits/digits-r1/model"} 1',
        'code="400",envoy_cluster_name="digits/digits-r1/model"} 3',
    )
    predictors.pages = {
        "digits-r1.ml.svc.cluster.local": page,
        "digits-r2.ml.svc.cluster.local": ENVOY.replace("digits-r1", "digits-r2"),
    }
    second = await judge.judgement(**BOTH, since=since)
    assert second["production"] == {
        "requests": 3 + 2,
        "errors": 3,
        "buckets": {"0.005": 0, "0.01": 0, "+Inf": 3},
        "refusals": {"400": 2},
    }
    assert "http://digits-r2.ml.svc.cluster.local:8000/prometheus" in predictors.asked


async def test_each_pod_of_a_predictor_counts_on_its_own(nats, monkeypatch):
    """Two pods that started together, each with counters of its own; one goes, another comes."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    port, pods = free_port(), {}
    runners = []
    for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):

        async def page(request: web.BaseRequest, host: str = host) -> web.Response:
            errors, uptime = pods[host]
            failed = 'class="5",envoy_cluster_name="digits/digits-r2/model"} '
            found = ENVOY.replace("digits-r1", "digits-r2").replace(
                f"{failed}2", f"{failed}{errors}"
            )
            return web.Response(
                text=found + f"# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{{}} {uptime}\n"
            )

        runner = web.ServerRunner(web.Server(page))
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        runners.append(runner)

    async def resolve(name: str, port: int) -> list[str]:
        if name != "digits-r2-pods.ml.svc.cluster.local":
            raise OSError(f"{name} is not known")
        return [f"{host}:{port}" for host in pods]

    settings = AnalysisSettings("digits", "ml", nats.url, predictor_port=port, each_pod=True)
    async with (
        open_connection(nats.url, name="test") as js,
        TestClient(
            TestServer(AnalysisService(settings, js, resolve).build_application())
        ) as client,
    ):

        async def errors(since: float) -> int:
            answer = await client.get("/judgement", params={**BOTH, "since": str(since)})
            return (await answer.json())["candidate"]["errors"]

        since = (await (await client.get("/judgement", params=BOTH)).json())["now"]
        pods = {"127.0.0.2": (2, 500), "127.0.0.3": (20, 500)}
        assert await errors(since) == 0
        pods = {"127.0.0.2": (3, 500), "127.0.0.3": (24, 500)}
        assert await errors(since) == 5
        pods = {"127.0.0.3": (24, 500), "127.0.0.4": (7, 0)}
        assert await errors(since) == 12
        said = await (await client.get("/metrics")).text()
        assert 'driftloop_analysis_responses_total{what="unresolved"} 3.0' in said
    for runner in runners:
        await runner.cleanup()


async def test_names_are_resolved_as_the_machine_does():
    assert "127.0.0.1:8000" in await resolve_addresses("localhost", 8000)
    with pytest.raises(OSError, match=r"not known|failure"):
        await resolve_addresses("nowhere.invalid", 8000)


async def test_killed_and_started_again_it_knows_what_it_had_acknowledged(judge):
    since = (await judge.judgement(**BOTH))["now"] - 1
    for n in range(30):
        assert await judge.respond(f"q{n}", "r1", [1.0, 0.0]) == 202
    judge.kill()
    judge.start()
    await judge.ready()
    for n in range(30):
        assert await judge.respond(f"q{n}", "r2", [1.0, 0.0]) == 202
    said = await judge.judgement(**BOTH, since=since)
    assert (said["joined"], said["agreed"]) == (30, 30)


async def test_labels_say_how_good_both_are_also_after_a_restart(judge):
    """Answers of a shadow and of a canary, by name and by place; the last label that was given counts."""

    def chances(place: int) -> dict:
        row = [0.1, 0.1]
        row[place] = 0.9
        return {"data": {"names": ["no", "yes"], "ndarray": [row]}}

    judge.kill()
    judge.start("--labels")
    await judge.ready()
    since = (await judge.judgement(**BOTH))["now"] - 1
    for number in range(40):
        for release, place in (("r1", 1), ("r2", number % 2)):
            body = chances(place)
            assert await judge.respond(f"q{number}", release, [], body=body) == 202
    first = [{"request": f"q{number}", "label": "no"} for number in range(20)]
    assert await judge.label(1, first) == 202
    # all are `yes`, or its place
    later = [{"request": f"q{number}", "label": ("yes", 1)[number % 2]} for number in range(30)]
    assert await judge.label(3, later) == 202
    # told again by a broker, and an older one that comes late
    assert await judge.label(2, [{"request": "q29", "label": "no"}]) == 202
    assert await judge.label(4, [{"request": "unknown", "label": "no"}]) == 202
    for _ in range(2):
        found = await judge.judgement(**BOTH, since=since, metric="accuracy", labels=20)
        quality = found["quality"]
        assert (quality["production"]["rows"], quality["production"]["right"]) == (30, 30)
        assert (quality["candidate"]["rows"], quality["candidate"]["right"]) == (30, 15)
        assert (quality["metric"], quality["needed"]) == ("accuracy", 20)
        judge.kill()
        judge.start("--labels")
        await judge.ready()
    assert (await judge.judgement(**BOTH, since=since))["quality"] is None


async def test_without_nats_events_are_refused_and_later_taken(judge, nats):
    since = (await judge.judgement(**BOTH))["now"] - 1
    nats.kill()
    assert await judge.respond("q", "r1", [1.0, 0.0], id="one") == 503
    nats.process = nats.start()
    deadline = time.monotonic() + PATIENCE
    while await judge.respond("q", "r1", [1.0, 0.0], id="one") != 202:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await judge.respond("q", "r2", [1.0, 0.0]) == 202
    assert (await judge.judgement(**BOTH, since=since))["joined"] == 1


async def test_what_is_no_response_of_this_pipeline_is_taken_and_left(judge):
    since = (await judge.judgement(**BOTH))["now"] - 1
    async with judge.session.post(judge.url, data=b"no event") as answer:
        assert answer.status == 202
    assert await judge.respond("q", "r1", [1.0], inferenceservicename="other") == 202
    assert await judge.respond("q", "r1", [1.0], type="io.seldon.serving.inference.request") == 202
    assert await judge.respond("q", "../etc", [1.0]) == 202
    async with judge.session.post(judge.url, data=b"x" * 3_000_000) as answer:
        assert answer.status == 413
    assert (await judge.judgement(**BOTH, since=since))["production"]["requests"] == 0
    async with judge.session.get(judge.url + "/metrics") as answer:
        text = await answer.text()
    assert 'driftloop_analysis_responses_total{what="malformed"} 1.0' in text
    assert 'driftloop_analysis_responses_total{what="foreign"} 3.0' in text


@pytest.mark.parametrize(
    "query",
    [{}, {"production": "r1"}, {"production": "r1", "candidate": "a b"}, {**BOTH, "since": "then"}],
)
async def test_wrong_questions(judge, query):
    async with judge.session.get(judge.url + "/judgement", params=query) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]


async def test_it_is_small(judge):
    for n in range(300):
        await both(judge, f"q{n}", 1, 1)
    await judge.judgement(**BOTH, since=0)
    memory = psutil.Process(judge.process.pid).memory_full_info()
    assert memory.pss < 45 * 1024**2, f"{memory.pss / 1024**2:.1f} MB"


def test_without_nats_url_it_says_so():
    env = {name: value for name, value in os.environ.items() if name != "NATS_URL"}
    done = subprocess.run(
        JUDGE, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 1
    assert "NATS_URL is not set" in done.stderr
    assert "Traceback" not in done.stderr
