"""Webhook, Sensor and CronWorkflow with a real nats-server: an event becomes one Workflow, whatever is killed."""

import asyncio
import concurrent.futures
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest
from support.processes import PATIENCE

from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_events import triggers
from driftloop.local.argo_workflows.cron import BUCKET as SCHEDULES
from tests.local.argo_world import NAMESPACE, TOKEN, Json, World, container, spec, until

HOST = "digits-retrain.digits.svc.cluster.local:12000"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("argo"))
    made.image(nothing="")
    try:
        made.start()
        made.apply(*objects())
        until(lambda: post(made, {"pipeline": "nobody"})[0] == 200, "the webhook is there")
        yield made
    finally:
        made.close()


def post(
    world: World,
    body: Any,
    *,
    token: str | None = TOKEN,
    path: str = "/retrain",
    method: str = "POST",
    host: str = HOST,
) -> tuple[int, str]:
    """Status and body of a call of the webhook."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{world.ports['webhook']}{path}",
        data=data if method != "GET" else None,
        method=method,
    )
    request.add_header("Host", host)
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def source(name: str = "digits-retrain", namespace: str = NAMESPACE, **webhook: Any) -> Json:
    return {
        "kind": "EventSource",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "eventBusName": "default",
            "replicas": 1,
            "webhook": {
                "retrain": {
                    "port": "12000",
                    "endpoint": "/retrain",
                    "method": "POST",
                    "authSecret": {"name": "driftloop-platform", "key": "webhook-token"},
                    "maxPayloadSize": 1000,
                    **webhook,
                }
            },
        },
    }


def service(name: str = "digits-retrain", namespace: str = NAMESPACE) -> Json:
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"eventsource-name": name}, "ports": [{"port": 12000}]},
    }


def template() -> Json:
    nothing = {"name": "main", "container": container("nothing.py")}
    arguments = {
        "parameters": [{"name": "decision", "value": ""}, {"name": "cause", "value": "schedule"}]
    }
    return {
        "kind": "WorkflowTemplate",
        "metadata": {"name": "digits-train", "namespace": NAMESPACE},
        "spec": spec(nothing, arguments=arguments),
    }


def sensor(name: str = "digits-retrain", **trigger: Any) -> Json:
    def copied(key: str, dest: str, **more: Any) -> Json:
        return {
            "src": {"dependencyName": "decided", "dataKey": f"body.{key}"},
            "dest": dest,
            **more,
        }

    resource = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "digits-", "namespace": NAMESPACE},
        "spec": {
            "workflowTemplateRef": {"name": "digits-train"},
            "arguments": {
                "parameters": [{"name": "decision", "value": ""}, {"name": "cause", "value": ""}]
            },
        },
    }
    return {
        "kind": "Sensor",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "template": {"serviceAccountName": "digits-sensor"},
            "dependencies": [
                {
                    "name": "decided",
                    "eventSourceName": "digits-retrain",
                    "eventName": "retrain",
                    "filters": {
                        "data": [
                            {"path": "body.pipeline", "type": "string", "value": ["^digits$"]},
                            {
                                "path": "body.decision",
                                "type": "string",
                                "value": ["^[0-9a-f]{12}$"],
                            },
                        ]
                    },
                }
            ],
            "triggers": [
                {
                    "template": {
                        "name": "train",
                        "conditions": "decided",
                        "k8s": {
                            "operation": "create",
                            "source": {"resource": resource},
                            "parameters": [
                                copied("decision", "metadata.name", operation="append"),
                                copied("decision", "spec.arguments.parameters.0.value"),
                                copied("cause", "spec.arguments.parameters.1.value"),
                            ],
                        },
                    },
                    "retryStrategy": {"steps": 3, "duration": "1s", "factor": 2, "jitter": 0.1},
                    "atLeastOnce": True,
                    **trigger,
                }
            ],
        },
    }


def objects() -> list[Json]:
    return [source(), service(), sensor(), template()]


def decided(decision: str, **more: Any) -> Json:
    return {"pipeline": "digits", "decision": decision, "cause": "alarm x", **more}


def runs(world: World, prefix: str) -> list[str]:
    return sorted(name for name in world.workflows() if name.startswith(prefix))


def test_one_decision_is_one_run_however_often_it_is_delivered(world: World) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(world, decided("aaaaaaaaaaaa")), range(20)))
    assert answers == [(200, "success")] * 20
    done = world.finished("digits-aaaaaaaaaaaa")
    assert done["status"]["phase"] == "Succeeded"
    assert done["spec"]["arguments"]["parameters"] == [
        {"name": "decision", "value": "aaaaaaaaaaaa"},
        {"name": "cause", "value": "alarm x"},
    ]
    assert done["metadata"]["labels"]["events.argoproj.io/sensor"] == "digits-retrain"
    uid = done["metadata"]["uid"]
    post(world, decided("aaaaaaaaaaaa"))
    post(world, decided("bbbbbbbbbbbb"))
    world.finished("digits-bbbbbbbbbbbb")
    assert runs(world, "digits-a") == ["digits-aaaaaaaaaaaa"]
    assert world.workflows()["digits-aaaaaaaaaaaa"]["metadata"]["uid"] == uid
    log, said = world.state.logs / "argo.log", "workflow digits-aaaaaaaaaaaa already exists"
    until(lambda: log.read_text().count(said) >= 20, "all twenty have met the run")


@pytest.mark.parametrize(
    ("body", "more", "status", "said"),
    [
        (decided("cccccccccccc"), {"token": None}, 401, "bearer token"),
        (decided("cccccccccccc"), {"token": "wrong"}, 401, "bearer token"),
        (decided("cccccccccccc"), {"token": TOKEN + "x"}, 401, "bearer token"),
        (b"not json", {}, 400, "not JSON"),
        (b"\xff\xfe\x00", {}, 400, "not JSON"),
        (b"[" * 900, {}, 400, "not JSON"),
        (decided("cccccccccccc", more="x" * 1000), {}, 413, "larger than 1000 bytes"),
        (decided("cccccccccccc"), {"method": "PUT"}, 400, "use POST"),
        (
            decided("cccccccccccc"),
            {"path": "/other"},
            404,
            "no EventSource has the endpoint /other",
        ),
        (
            decided("cccccccccccc"),
            {"host": "other.digits.svc.cluster.local"},
            404,
            "no Service other.digits",
        ),
    ],
)
def test_what_the_webhook_refuses(
    world: World, body: Any, more: Json, status: int, said: str
) -> None:
    found, text = post(world, body, **more)
    assert (found, said in text) == (status, True), text
    assert runs(world, "digits-c") == []


def test_health(world: World) -> None:
    assert post(world, b"", path="/health", method="GET", token=None) == (200, "OK")


def test_what_the_filters_hold_back(world: World) -> None:
    for body in (
        decided("not-hex"),
        decided("dddddddddddd", pipeline="digits2"),
        {"pipeline": "digits"},
        [1],
        "x",
        None,
    ):
        assert post(world, body)[0] == 200
    assert (
        post(world, {"pipeline": "digits", "decision": "dddddddddddd"})[0] == 200
    )  # no cause, no default
    assert post(world, decided("eeeeeeeeeeee"))[0] == 200
    world.finished("digits-eeeeeeeeeeee")
    assert runs(world, "digits-d") == []
    assert "the event has no `body.cause`" in (world.state.logs / "argo.log").read_text()


def test_events_wait_while_everything_is_killed(world: World) -> None:
    """Killed after `success` and before the Workflow: it comes all the same, once."""
    for n in range(4):
        assert post(world, decided(f"f0000000000{n}")) == (200, "success")
        world.kill("argo")
        if n % 2:
            world.kill("nats")
            world.start_nats()
        world.start_argo()
        until(lambda: post(world, {"pipeline": "nobody"})[0] == 200, "the webhook is back")
    for n in range(4):
        assert world.finished(f"digits-f0000000000{n}")["status"]["phase"] == "Succeeded"
    assert len(runs(world, "digits-f")) == 4


def test_without_nats_the_sender_hears_of_it(world: World) -> None:
    world.kill("nats")
    assert post(world, decided("a1a1a1a1a1a1"))[0] == 500
    world.start_nats()
    until(lambda: post(world, decided("a1a1a1a1a1a1"))[0] == 200, "events are stored again")
    assert world.finished("digits-a1a1a1a1a1a1")["status"]["phase"] == "Succeeded"


def test_two_pipelines_share_the_port(world: World) -> None:
    world.apply(*objects(), source("b-retrain", "b"), service("b-retrain", "b"))
    until(
        lambda: post(world, {}, host="b-retrain.b.svc.cluster.local:12000")[0] == 200,
        "the second is there",
    )
    status, said = post(world, decided("a2a2a2a2a2a2"), host=f"127.0.0.1:{world.ports['webhook']}")
    assert status == 404
    assert "several EventSources have /retrain: send one of these as Host" in said
    assert post(world, decided("a2a2a2a2a2a2"), host="digits-retrain.digits")[0] == 200
    world.finished("digits-a2a2a2a2a2a2")
    world.apply(*objects())
    until(lambda: post(world, {}, host="b-retrain.b")[0] == 404, "the second is gone")
    assert post(world, {}, host=f"127.0.0.1:{world.ports['webhook']}")[0] == 200


def test_a_changed_sensor_and_what_it_refuses(world: World) -> None:
    changed = sensor(rateLimit={"unit": "Minute", "requestsPerUnit": 100})
    odd = sensor("odd")
    odd["spec"]["triggers"][0]["template"]["slack"] = {}
    slow = sensor("slow", dlqTrigger={})
    world.apply(source(), service(), changed, odd, slow, template())
    text = (world.state.logs / "argo.log").read_text()
    assert (
        "Sensor digits/odd: `spec.triggers.0.template.slack` is not supported by the local runtime"
        in text
    )
    assert (
        "Sensor digits/slow: `spec.triggers.0.dlqTrigger` is not supported by the local runtime"
        in text
    )
    assert post(world, decided("a3a3a3a3a3a3"))[0] == 200
    world.finished("digits-a3a3a3a3a3a3")
    world.apply(*objects())


def test_a_sensor_of_two_webhooks_makes_a_workflow_of_another_template(world: World) -> None:
    """As the tree of a pipeline has it whose monitors roll back: each dependency has its own trigger."""
    both = source()
    webhooks = both["spec"]["webhook"]
    webhooks["rollback"] = {**webhooks["retrain"], "endpoint": "/rollback"}
    two, other = sensor(), template()
    other["metadata"] = {**other["metadata"], "name": "digits-rollback"}
    (decided_by,), (train,) = two["spec"]["dependencies"], two["spec"]["triggers"]
    rollback = json.loads(json.dumps(train).replace('"decided"', '"ordered"'))
    rollback["template"]["name"] = "rollback"
    resource = rollback["template"]["k8s"]["source"]["resource"]
    resource["metadata"]["name"] = "digits-rollback-"
    resource["spec"]["workflowTemplateRef"]["name"] = "digits-rollback"
    two["spec"]["dependencies"] = [
        decided_by,
        {**decided_by, "name": "ordered", "eventName": "rollback"},
    ]
    two["spec"]["triggers"] = [train, rollback]
    world.apply(both, service(), two, template(), other)
    until(lambda: post(world, {}, path="/rollback")[0] == 200, "the second webhook is there")
    for path, decision in (("/rollback", "b1b1b1b1b1b1"), ("/retrain", "b2b2b2b2b2b2")) * 2:
        assert post(world, decided(decision), path=path) == (200, "success")
    done = world.finished("digits-rollback-b1b1b1b1b1b1")
    assert done["spec"]["workflowTemplateRef"]["name"] == "digits-rollback"
    world.finished("digits-b2b2b2b2b2b2")
    assert runs(world, "digits-b1") == []
    assert runs(world, "digits-b2") == ["digits-b2b2b2b2b2b2"]
    assert post(world, decided("b3b3b3b3b3b3"), path="/rollback", token="wrong")[0] == 401
    world.apply(*objects())
    until(lambda: post(world, {}, path="/rollback")[0] == 404, "the second webhook is gone")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("conditions", "trigger train names the dependency `other`, which does not exist"),
        ("dependencyName", "trigger train reads the dependency `other`, must read `decided`"),
    ],
)
def test_a_trigger_of_a_dependency_that_is_not_its_own_is_refused(place: str, said: str) -> None:
    text = json.dumps(sensor()).replace(f'"{place}": "decided"', f'"{place}": "other"', 1)
    with pytest.raises(NotUnderstoodError, match=said):
        triggers.read_sensor(json.loads(text), "Sensor digits/digits-retrain")


def cron(name: str, **more: Any) -> Json:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "schedules": ["0 0 1 1 *"],
            "timezone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 400 * 86_400,
            "workflowSpec": {"workflowTemplateRef": {"name": "digits-train"}},
            **more,
        },
    }


def test_missed_times_after_a_stop(world: World) -> None:
    """The latest missed one is made within the deadline, once; a too late one is not."""
    # a time that no other follows while this runs
    new_year = int(datetime.now(UTC).replace(month=1, day=1).timestamp()) // 86_400 * 86_400
    asyncio.run(remember(world, dict.fromkeys(("missed", "late", "still"), new_year - 7200)))
    world.submit({"workflowTemplateRef": {"name": "digits-train"}}, name="still-running")
    asyncio.run(remember(world, {"still": new_year - 7200}, last="not-over"))
    hang = spec({"name": "main", "container": container("-c", "import time; time.sleep(600)")})
    world.submit(hang, name="not-over")
    world.apply(
        *objects(),
        cron("missed"),
        cron("late", startingDeadlineSeconds=0),
        cron("still"),
        cron("fresh"),
        cron("odd", schedules=["every day"]),
    )
    done = world.finished(f"missed-{new_year}")
    assert done["status"]["phase"] == "Succeeded"
    assert done["metadata"]["labels"]["workflows.argoproj.io/cron-workflow"] == "missed"
    assert done["metadata"]["annotations"]["workflows.argoproj.io/scheduled-time"].endswith(
        "-01-01T00:00:00Z"
    )
    world.kill("argo")
    world.start_argo()
    log = world.state.logs / "argo.log"
    until(
        lambda: log.read_text().count("digits/still: not-over still runs") >= 1,
        "the cron was looked at",
    )
    time.sleep(1)
    names = set(world.workflows())
    assert {name for name in names if name.endswith(str(new_year))} == {f"missed-{new_year}"}
    assert "schedule `every day` must be five cron fields" in log.read_text()
    world.delete("not-over")
    world.apply(*objects())


async def remember(world: World, until: dict[str, float], last: str | None = None) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{world.ports['nats']}")
    try:
        bucket = await client.jetstream().key_value(SCHEDULES)
        for name, moment in until.items():
            await bucket.put(
                f"{NAMESPACE}.{name}", json.dumps({"until": moment, "last": last}).encode()
            )
    finally:
        await client.close()


def test_a_clean_stop_leaves_no_process(world: World, tmp_path: Path) -> None:
    import signal

    started = time.monotonic()
    world.kill("argo", signal.SIGTERM)
    assert time.monotonic() - started < PATIENCE / 3
    assert "Traceback" not in (world.state.logs / "argo.log").read_text()
    world.start_argo()
