"""A real Prometheus, told what to scrape as the rendered PodMonitors would tell it, on the real services and a real
Envoy: every alert and every question of the dashboard is answered, and alerts are raised."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from support import monitor
from support.detector import ROOT, WIDTH, reference, run
from support.processes import Process, free_port, nats, until, url

from driftloop.contract.platform import GIT_URL
from driftloop.contract.trees import release_path
from driftloop.release import record
from driftloop.render import render_tree
from driftloop.retrain.state import ClaimEvent, EndEvent
from driftloop.retrain.store import apply_once
from tests.pipelines import version
from tests.resources.test_logger import Place, ask, standing
from tests.resources.test_network import matches
from tests.spec.specs import MINIMAL

PROMETHEUS = shutil.which("prometheus")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not on this machine"),
]

SPEC = MINIMAL.replace("model: Digits", "model: Digits, backend: plain") + (
    "  monitors: {drift: {window: 20}}\n"
    "  rollout: {canary: {p99: 9s}}\n"
    "  observability: {prometheus: {}, dashboard: true}\n"
)
RELEASE = version("digits-000000000001")
WAIT = "1s"
"""Instead of the minutes that most alerts wait before they are raised."""


@dataclass
class World:
    """Everything that runs, and Prometheus."""

    place: Place
    services: dict[str, Process]
    """Component -> process."""
    nats: str
    prometheus: str
    http: aiohttp.ClientSession

    async def asked(self, expression: str) -> list[Any]:
        """What Prometheus answers to PromQL."""
        text = expression.replace("$__rate_interval", "1m")
        async with self.http.get(
            f"{self.prometheus}/api/v1/query", params={"query": text}
        ) as answer:
            found = await answer.json()
        assert found["status"] == "success", f"{text}: {found}"
        return list(found["data"]["result"])

    async def raised(self) -> set[str]:
        return {
            one["metric"]["alertname"] for one in await self.asked('ALERTS{alertstate="firing"}')
        }


def tree() -> dict[str, Any]:
    """File name -> object of the pipeline in its first release."""
    release = record.release_first(record.empty_release("digits", "digits"), RELEASE)
    files = render_tree(SPEC, record.dump_release(release))
    return {
        path.rpartition("/")[2]: yaml.safe_load(text)
        for path, text in files.items()
        if path.startswith(("monitors/", "deployments/"))
        and not path.endswith("/kustomization.yaml")
    }


def commit_release(folder: Path) -> str:
    """The address of a repository in which the first release is production."""
    release = record.release_first(record.empty_release("digits", "digits"), RELEASE)
    file = folder / release_path("digits")
    file.parent.mkdir(parents=True)
    file.write_text(record.dump_release(release))
    person = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    for command in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("add", "."),
        (*person, "commit", "--quiet", "--message", "Release"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder.as_uri()


def scraped(objects: dict[str, Any], ports: dict[str, int]) -> list[Any]:
    """Prometheus's scrape_configs, as its operator makes them of the PodMonitors; component -> port on this machine."""
    found = []
    for monitor_ in (one for one in objects.values() if one.get("kind") == "PodMonitor"):
        (endpoint,) = monitor_["spec"]["podMetricsEndpoints"]
        namespace, name = monitor_["metadata"]["namespace"], monitor_["metadata"]["name"]
        static = []
        for deployment in (one for one in objects.values() if one.get("kind") == "Deployment"):
            template = deployment["spec"]["template"]
            labels = template["metadata"]["labels"]
            if deployment["metadata"]["namespace"] != namespace or not matches(
                monitor_["spec"]["selector"], labels
            ):
                continue
            for container in template["spec"]["containers"]:
                if endpoint["port"] not in [port["name"] for port in container.get("ports", [])]:
                    continue
                own = {
                    "namespace": namespace, "container": container["name"], "endpoint": endpoint["port"],
                    "pod": f"{deployment['metadata']['name']}-6d5f9c7b8-x2x2x", "job": f"{namespace}/{name}",
                }  # fmt: skip
                own |= {
                    re.sub(r"\W", "_", key): labels[key]
                    for key in monitor_["spec"]["podTargetLabels"]
                }
                address = f"127.0.0.1:{ports[labels['app.kubernetes.io/component']]}"
                static.append({"targets": [address], "labels": own})
        found.append({"job_name": name, "metrics_path": endpoint["path"], "static_configs": static})
    return found


def hurried(rules: Any) -> Any:
    """The rules, but that they wait seconds for what they wait minutes for."""
    groups = json.loads(json.dumps(rules["spec"]["groups"]))
    for rule in (rule for group in groups for rule in group["rules"]):
        if "for" in rule and rule["alert"] != "NoTraffic":
            rule["for"] = WAIT
    return {"groups": groups}


async def prometheus(folder: Path, scrape: list[Any], rules: Any) -> Process:
    assert PROMETHEUS is not None
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": scrape}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    argv = [
        PROMETHEUS,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
    ]
    argv += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    return await asyncio.to_thread(Process(argv, folder / "log", port, "/-/ready").start)


def service(
    component: str, objects: dict[str, Any], folder: Path, module: str, python: Path, **other: str
) -> Process:
    """One of our services with the arguments of its Deployment, but for addresses of this machine."""
    (container,) = objects[f"{component}.deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    args, port = list(container["args"]), free_port()
    for option, value in (
        ("--port", str(port)),
        *((f"--{name}", value) for name, value in other.items()),
    ):
        if option in args:
            args[args.index(option) + 1] = value
    environment = {
        "NATS_URL": other["nats"],
        "NATS_READER_URL": other["nats"],
        "DRIFTLOOP_WEBHOOK_TOKEN": "t",
        "PYTHONPATH": str(ROOT / "pipeline"),
        "NO_PROXY": "*",
        **({GIT_URL.environment: other["git"]} if "git" in other else {}),
    }
    argv = [str(python), "-m", module, *args]
    return Process(argv, folder / f"{component}.log", port, "/healthz", environment)


async def delivered(
    place: Place, services: dict[str, Process], http: aiohttp.ClientSession
) -> None:
    """What the Triggers do: each event to whom it concerns."""
    done = 0
    whose = {
        "io.seldon.serving.inference.request": "drift",
        "io.seldon.serving.inference.response": "judge",
    }
    while True:
        for event in place.broker.events[done:]:
            to = services[whose.get(event.headers.get("ce-type", ""), "decision")]
            headers = {
                name: value
                for name, value in event.headers.items()
                if name.startswith(("ce-", "content-type"))
            }
            with suppress(aiohttp.ClientError):
                await http.post(f"http://127.0.0.1:{to.port}/", data=event.body, headers=headers)
            done += 1
        await asyncio.sleep(0.05)


@asynccontextmanager
async def world(folder: Path, rules: Callable[[Any], Any] = hurried) -> AsyncIterator[World]:
    objects, python, started = tree(), await asyncio.to_thread(monitor.python), []
    (drift,) = objects["drift.deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    config = drift["args"][drift["args"].index("--config") + 1]
    fit = (
        "fit",
        "--detector",
        config,
        "--reference",
        str(reference(folder / "reference")),
        "--features",
        "x",
    )
    fitted = await asyncio.to_thread(run, python, *fit, "--out", str(folder / "artifact"))
    assert fitted.returncode == 0, fitted.stderr
    (folder / "envoy").mkdir()
    async with standing(folder / "envoy", releases=(RELEASE.id,)) as places:
        place = places[RELEASE.id]
        (cluster,) = (
            one
            for one in place.config["static_resources"]["clusters"]
            if one["name"].endswith("/broker")
        )
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        broker = f"http://127.0.0.1:{endpoint['endpoint']['address']['socket_address']['port_value']}/digits/default"
        try:
            started.append(server := await asyncio.to_thread(nats(folder / "nats").start))
            make = partial(service, objects=objects, folder=folder, nats=url(server), broker=broker)
            services = {
                "decision": make("decision", module="driftloop.services.decision", python=Path(sys.executable),
                                 webhook=broker, git=commit_release(folder / "git")),
                "judge": make("judge", module="driftloop.services.analysis", python=Path(sys.executable)),
                "drift": make("drift", module="driftloop.services.detector", python=python,
                              artifact=str(folder / "artifact")),
            }  # fmt: skip
            for process in services.values():
                started.append(await asyncio.to_thread(process.start))
            ports = {name: process.port for name, process in services.items()}
            ports["serving"] = int(place.url.rpartition(":")[2])
            scrape = scraped(objects, ports)
            assert sorted(one["job_name"] for one in scrape) == ["digits-model", "digits-services"]
            assert sum(len(one["static_configs"]) for one in scrape) == 4
            told = rules(objects["alerts.prometheusrule.yaml"])
            started.append(asks := await prometheus(folder / "prometheus", scrape, told))
            trigger = asyncio.create_task(delivered(place, services, place.http))
            yield World(place, services, url(server), f"http://127.0.0.1:{asks.port}", place.http)
            trigger.cancel()
        finally:
            for process in started:
                process.kill()


async def send(place: Place, count: int, *, shift: float = 0.0) -> None:
    for number in range(count):
        row = [shift + ((number * 7 + column * 3) % 11 - 5) / 3 for column in range(WIDTH)]
        status, _, _ = await ask(place, json.dumps({"data": {"ndarray": [row]}}).encode())
        assert status == 200


def firing(found: World, *names: str) -> Callable[[], Awaitable[bool]]:
    async def are() -> bool:
        return set(names) <= await found.raised()

    return are


async def test_alerts_are_raised_and_questions_answered_by_what_really_runs(tmp_path: Path) -> None:
    objects = tree()
    (text,) = objects["dashboard.configmap.yaml"]["data"].values()
    panels = [panel for panel in json.loads(text)["panels"] if "targets" in panel]
    alerts = objects["alerts.prometheusrule.yaml"]["spec"]["groups"][0]["rules"]
    async with world(tmp_path) as found:
        await until(lambda: found.asked("count(up == 1) == 4"), what="scraping all four")
        await send(found.place, 30)
        await until(lambda: found.asked("max(driftloop_detector_window) >= 1"), what="a window")

        async def quiet() -> bool:
            return await found.raised() == set()

        # on a busy machine the services come up later than the shortened waits of the alerts
        await until(quiet, what="the end of the alerts of the start")

        # Envoy has no histogram before the first request, and a rate takes two samples
        await until(
            lambda: found.asked("envoy_cluster_upstream_rq_time_bucket"),
            what="a histogram",
        )
        await send(found.place, 5)
        await until(
            lambda: found.asked("rate(envoy_cluster_upstream_rq_time_bucket[1m]) > 0"),
            what="a rate",
        )
        for panel in panels:
            for target in panel["targets"]:
                question = target["expr"]
                elsewhere = "argo_workflows_" in question
                if not elsewhere:
                    # a rate takes two samples of its own service, which a busy machine scrapes later
                    await until(
                        partial(found.asked, question),
                        what=f"{panel['title']}: {question}",
                    )
                answer = await found.asked(question)
                assert bool(answer) is not elsewhere, f"{panel['title']}: {question}: {answer}"
                names = {name for one in answer for name in one["metric"]}
                assert (
                    set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= names or elsewhere
                ), panel["title"]
        for rule in alerts:

            async def is_silent(expression: str = rule["expr"]) -> bool:
                return await found.asked(expression) == []

            # on a busy machine a scrape may take longer than the second that it is given
            await until(is_silent, what=f"that {rule['alert']} is silent")

        # drift starts a run that nobody claims; a run fails; an event goes astray
        await send(found.place, 60, shift=9.0)
        await until(firing(found, "RunNotStarted"), what="a run that was not started")
        claim, end = ClaimEvent("digits-1", "1", "person x"), EndEvent("digits-1", "failed", "no")
        for event in (claim, end):
            await asyncio.to_thread(apply_once, found.nats, "digits", "digits", event)
        lost = {
            "ce-id": "1",
            "ce-source": "s",
            "ce-type": "t",
            "ce-specversion": "1.0",
            "content-type": "text/plain",
        }
        address = f"http://127.0.0.1:{found.services['decision'].port}/deadletter"
        async with found.http.post(address, data=b"x", headers=lost) as answer:
            assert answer.status == 202
        await until(
            firing(found, "RunFailed", "EventsAstray"),
            what="a failed run and a dead letter",
        )

        # requests that fail; services that are gone
        await ask(found.place, b"{}", path="/fail")
        failures = 'envoy_cluster_upstream_rq_xx{envoy_response_code_class="5"}'
        await until(lambda: found.asked(failures), what="a first failure, which no rate sees")
        for _ in range(30):
            await ask(found.place, b"{}", path="/fail")
        found.services["drift"].kill()
        found.services["judge"].kill()
        gone = ("PredictorFailing", "DetectorDown", "JudgeDown")
        others = {"DecisionDown", "PredictorDown", "NoTraffic", "PredictorSlow"}

        async def only_those() -> bool:
            raised = await found.raised()
            return set(gone) <= raised and not others & raised

        await until(only_those, what="alerts on what is gone, and on nothing else")
