"""Dead letters sent again: a running broker, decision service and subscriber, by the command line."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftloop.plan import images as refs
from tests.local.conftest import Git, Up, deployment, eventually, kustomization, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BROKER = "http://broker/shop/default"


def decision() -> dict[str, Any]:
    """The Deployment of a decision service, as a tree has it."""
    made = deployment("shop-decision", ref=refs.DRIFTLOOP)
    container = made["spec"]["template"]["spec"]["containers"][0]

    def platform(name: str, kind: str, key: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {kind: {"name": "driftloop-platform", "key": key}}}

    container |= {
        "command": ["driftloop-decision"],
        "args": [
            *("--namespace", "shop", "--pipeline", "shop", "--port", "8080"),
            *("--policy", '{"on": ["drift"]}', "--webhook", "http://webhook/", "--broker", BROKER),
        ],
        "env": [
            platform("NATS_URL", "secretKeyRef", "nats-decision"),
            platform("NATS_READER_URL", "secretKeyRef", "nats-reader"),
            platform("DRIFTLOOP_WEBHOOK_TOKEN", "secretKeyRef", "webhook-token"),
        ],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
    }
    return made


def events_command(up: Up, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "driftloop.cli", "events", *words]
    command += ["--state", str(up.state.root), "--output", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def send(up: Up, id: str) -> int:
    headers = {"ce-id": id, "ce-source": "test", "ce-type": "t", "ce-specversion": "1.0"}
    address = f"http://127.0.0.1:{up.ports['broker']}/shop/default"
    request = urllib.request.Request(address, b"{}", headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return int(answer.status)


def test_dead_letters_are_told_and_sent_again_once_each(
    start: Callable[..., Up], git: Git, tmp_path: Path
) -> None:
    record = tmp_path / "taken.jsonl"
    reference = {"apiVersion": "v1", "kind": "Service", "namespace": "shop"}
    delivery = {
        "retry": 1,
        "backoffPolicy": "linear",
        "backoffDelay": "PT0.1S",
        "deadLetterSink": {"ref": {**reference, "name": "shop-decision"}, "uri": "/deadletter"},
    }
    broker = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"delivery": delivery},
    }
    trigger = {
        **broker,
        "kind": "Trigger",
        "metadata": {"name": "sink", "namespace": "shop"},
        "spec": {
            "broker": "default",
            "subscriber": {"ref": {**reference, "name": "sink"}},
            "delivery": delivery,
        },
    }
    sink = service("sink", port=80)
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-monitors", "monitors/shop", "infra-configs")
        ],
        "monitors/shop/events.yaml": [broker, trigger, sink],
        "monitors/shop/decision.yaml": [
            decision(),
            service("shop-decision", port=8080),
            {
                **service("shop-decision", port=80),
                "metadata": {"name": "shop-decision-80", "namespace": "shop"},
            },
        ],
    }
    delivery["deadLetterSink"]["ref"]["name"] = "shop-decision-80"  # type: ignore[index]
    files["monitors/shop/decision.yaml"][2]["spec"]["selector"] = {"app": "shop-decision"}
    up = start().wait_up()
    up.wait_applied(git.commit(files, "Events without a subscriber"))
    for id in ("a", "b", "c"):
        assert send(up, id) == 202

    def listed() -> list[dict[str, Any]]:
        done = events_command(up, "ls", "shop")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout)["letters"])

    eventually(lambda: len(listed()) == 3, what="three dead letters")
    assert {letter["id"] for letter in listed()} == {"a", "b", "c"}
    assert all("sink.shop.svc.cluster.local" in letter["destination"] for letter in listed())
    eventually(lambda: any("3 events wait" in line for line in up.status()["blind"]))
    refused = events_command(up, "replay", "shop")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["waiting"] == 3

    files["monitors/shop/sink.yaml"] = [deployment("sink", RECORD=str(record))]
    up.wait_applied(git.commit(files, "Add the subscriber"))
    done = events_command(up, "replay", "shop")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["sent"], json.loads(done.stdout)["waiting"]) == (3, 0)
    again = events_command(up, "replay", "shop")
    assert json.loads(again.stdout)["sent"] == 0
    taken = [json.loads(line)["headers"]["ce-id"] for line in record.read_text().splitlines()]
    assert sorted(taken) == ["a", "b", "c"]
    assert events_command(up, "ls", "nobody").returncode == 1
    eventually(lambda: not any("events wait" in line for line in up.status()["blind"]))
