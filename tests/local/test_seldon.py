"""A SeldonDeployment run through its loggers, broker and trigger: releases change under load and no event is lost."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.local.conftest import (
    REF,
    Git,
    Up,
    deployment,
    eventually,
    get,
    kustomization,
    service,
    virtual_service,
)

BROKER = "http://broker-ingress.knative-eventing.svc.cluster.local/shop/default"
RELEASE = "deployments/shop/model.seldondeployment.yaml"
MIRROR = "deployments/shop/mirror.virtualservice.yaml"


def predictor(name: str, record: Path, **fields: Any) -> dict[str, Any]:
    container = {
        "name": "model",
        "image": REF,
        "command": ["python", "echo.py"],
        "args": ["--port", "9000"],
        "env": [{"name": "NAME", "value": name}, {"name": "SLOW", "value": "0.05"}],
    }
    return {
        "name": name,
        "graph": {"name": "model", "type": "MODEL", "logger": {"mode": "all", "url": BROKER}},
        "componentSpecs": [{"spec": {"containers": [container]}}],
        **fields,
    }


def seldon(*predictors: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {
            "name": "model",
            "namespace": "shop",
            "labels": {"app.kubernetes.io/name": "model"},
        },
        "spec": {"protocol": "seldon", "predictors": list(predictors)},
    }


def mirror(production: str, candidate: str) -> dict[str, Any]:
    """The VirtualService that goes before the operator's while there is a shadow."""
    virtual = virtual_service({f"model-{production}": 100}, mirror=f"model-{candidate}")
    virtual["metadata"]["name"] = "model-mirror"
    virtual["spec"]["exportTo"] = ["istio-system"]
    return virtual


def predict(up: Up) -> tuple[str, str]:
    """(who answered, the request's id)."""
    url = up.url("/seldon/shop/model/api/v1.0/predictions")
    request = urllib.request.Request(url, b'{"data": {}}', {"content-type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=30
        ) as answer:
            return json.load(answer)["name"], answer.headers["seldon-puid"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code} after {time.time()}: {error.read()!r}") from None


def processes(up: Up) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in up.status()["processes"]}


def test_shadow_canary_and_promotion_lose_no_request_and_no_event(
    start: Callable[..., Up], git: Git, tmp_path: Path
) -> None:
    record = tmp_path / "events.jsonl"
    trigger = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "all", "namespace": "shop"},
        "spec": {
            "broker": "default",
            "filter": {"attributes": {"inferenceservicename": "model"}},
            "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "sink"}},
            "delivery": {"retry": 5, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"},
        },
    }
    broker = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"delivery": trigger["spec"]["delivery"]},  # type: ignore[index]
    }
    sink = service("sink")
    sink["spec"]["ports"][0]["port"] = 80
    one = predictor("r1", record)
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-monitors", "monitors/shop"),
            kustomization("shop-deployments", "deployments/shop", "shop-monitors"),
        ],
        "monitors/shop/events.yaml": [
            broker,
            trigger,
            deployment("sink", RECORD=str(record)),
            sink,
        ],
        RELEASE: seldon(one),
    }
    up = start().wait_up()
    up.wait_applied(git.commit(files, "First release"))
    pids = processes(up)
    answered: list[tuple[str, str]] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answered.append(predict(up))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        two = predictor("r2", record)
        pair = seldon(one | {"traffic": 100}, two | {"traffic": 0})
        up.wait_applied(git.commit({RELEASE: pair, MIRROR: mirror("r1", "r2")}, "Shadow"))
        shadowed = len(answered)
        eventually(lambda: len(answered) > shadowed + 50)
        candidate = processes(up)["shop/model-r2"]
        mirrored_until = len(answered)
        pair = seldon(one | {"traffic": 50}, two | {"traffic": 50})
        up.wait_applied(git.commit({RELEASE: pair, MIRROR: None}, "Canary"))
        canary = len(answered)
        eventually(lambda: len(answered) > canary + 60)
        up.wait_applied(git.commit({RELEASE: seldon(two)}, "Promote"))
        promoted = len(answered)
        eventually(lambda: len(answered) > promoted + 30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    names = [name for name, _ in answered]
    assert "r2" not in names[:shadowed], "the shadow never answers"
    assert set(names[canary:promoted]) == {"r1", "r2"}
    assert set(names[promoted + 3 :]) == {"r2"}
    eventually(lambda: "shop/model-r1" not in processes(up))
    now = processes(up)
    assert now["shop/model-r2"] == candidate, "from shadow to production nothing restarts"
    assert {name: now[name] for name in ("nats", "envoy", "shop/sink")} == {
        name: pids[name] for name in ("nats", "envoy", "shop/sink")
    }

    def events() -> Counter[tuple[str, str, str]]:
        # the sink's answer is no CloudEvent, so each event is delivered again: count ids, not deliveries
        found: dict[str, tuple[str, str, str]] = {}
        for line in record.read_text().splitlines():
            headers = json.loads(line)["headers"]
            if "ce-id" in headers:
                kind = headers["ce-type"].rpartition(".")[2]
                found[headers["ce-id"]] = (kind, headers["ce-endpoint"], headers["ce-requestid"])
        return Counter(found.values())

    wanted = {
        (kind, name, identifier)
        for name, identifier in answered
        for kind in ("request", "response")
    }
    eventually(
        lambda: wanted <= set(events()), what="every request and every response became an event"
    )
    found = events()
    assert max(found.values()) == 1
    mirrored = {
        identifier for kind, name, identifier in found if name == "r2" and kind == "response"
    }
    shadow_ids = {identifier for _, identifier in answered[shadowed + 6 : mirrored_until]}
    assert shadow_ids <= mirrored, "production and shadow are joined by the request's id"
    status, _ = get(up.url("/seldon/shop/model/api/v1.0/health/status"))
    assert status == 200


def test_a_revert_in_the_middle_of_a_shadow_keeps_production_until_the_old_one_answers(
    start: Callable[..., Up], git: Git, tmp_path: Path
) -> None:
    one, two, three = (predictor(name, tmp_path / "unused") for name in ("r1", "r2", "r3"))
    for made in (one, two, three):
        del made["graph"]["logger"]
        # without a logger before it, the model itself has the predictor's port
        made["componentSpecs"][0]["spec"]["containers"][0]["args"] = ["--port", "8000"]
    files = {
        "cluster/dev/pipelines/shop.yaml": [kustomization("shop-deployments", "deployments/shop")],
        RELEASE: seldon(two),
    }
    up = start().wait_up()
    up.wait_applied(git.commit(files, "Release r2"))
    pair = seldon(two | {"traffic": 100}, three | {"traffic": 0})
    up.wait_applied(git.commit({RELEASE: pair, MIRROR: mirror("r2", "r3")}, "Shadow"))
    assert {predict(up)[0] for _ in range(20)} == {"r2"}
    answered: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answered.append(predict(up)[0])

    thread = threading.Thread(target=load)
    thread.start()
    try:
        up.wait_applied(git.commit({RELEASE: seldon(one), MIRROR: None}, "Back to r1"))
        eventually(lambda: answered[-5:] == ["r1"] * 5)
    finally:
        stop.set()
        thread.join()
    assert thread.is_alive() is False
    assert set(answered) == {"r1", "r2"}
    assert answered == sorted(answered, reverse=True), "no way back to r2, and no gap"
