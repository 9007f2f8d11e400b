"""`driftloop halt` and `resume`, with a real decision service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import type_command
from support.processes import Process, free_port, nats, url

from driftloop.retrain.decision import is_claimed
from driftloop.retrain.state import ClaimEvent
from driftloop.retrain.store import apply_once

TOKEN = "s3cret"


class World:
    def __init__(self, state: Path, service: Process, server: Process) -> None:
        self.state, self.service, self.server = state, service, server

    def types(
        self, *arguments: str, code: int = 0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("DRIFTLOOP_")
        }
        # a proxy in the user's environment must not come between
        environment = (
            clean
            | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
            | environment
        )
        return type_command(*arguments, folder=self.state, environment=environment, code=code)

    def claims(self, run: str) -> bool:
        state = apply_once(url(self.server), "n", "p", ClaimEvent(run, run, "person eve"))
        return is_claimed(state, run)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    server = nats(tmp_path / "nats").start()
    port = free_port()
    argv = [
        sys.executable,
        "-m",
        "driftloop.services.decision",
        "--port",
        str(port),
        "--namespace",
        "n",
    ]
    argv += ["--pipeline", "p", "--policy", json.dumps({"consecutive": 2, "on": ["drift"]})]
    argv += ["--webhook", "http://127.0.0.1:9/retrain", "--broker", "http://127.0.0.1:9/broker"]
    environment = {
        "NATS_URL": url(server),
        "NATS_READER_URL": url(server),
        "DRIFTLOOP_WEBHOOK_TOKEN": TOKEN,
        "NO_PROXY": "127.0.0.1",
    }
    environment["DRIFTLOOP_KUBERNETES_URL"] = "http://127.0.0.1:9"
    service = Process(argv, tmp_path / "decision.log", port, "/healthz", environment).start()
    run = tmp_path / "state" / "run"
    run.mkdir(parents=True)
    addresses = {
        "p-decision.n.svc.cluster.local:8080": f"127.0.0.1:{port}",
        "p-judge.n.svc.cluster.local:8080": "127.0.0.1:9",
    }
    (run / "addresses.json").write_text(json.dumps(addresses))
    (run / "platform.json").write_text(
        json.dumps({"configMap": {}, "secret": {"webhook-token": TOKEN}})
    )
    yield World(run.parent, service, server)
    service.kill()
    server.kill()


def test_a_halted_loop_starts_no_run_until_it_is_resumed(world: World) -> None:
    here = ("--state", str(world.state))
    assert world.types("halt", "p", *here, "--reason", "look first").stdout == "halted\n"
    assert not world.claims("p-1")
    assert world.types("resume", "p", *here).stdout == "idle\n"
    assert world.claims("p-2")
    done = world.types("halt", "p", *here, "--output", "json")
    assert json.loads(done.stdout) == {"pipeline": "p", "phase": "running", "halt": "by hand"}
    assert "p is suspended once the current run has finished" in done.stderr


def test_where_and_with_which_token(world: World) -> None:
    address = f"http://127.0.0.1:{world.service.port}"
    done = world.types("halt", "p", "--url", address, DRIFTLOOP_WEBHOOK_TOKEN=TOKEN)
    assert done.stdout == "halted\n"
    assert (
        "refuses the token"
        in world.types("resume", "p", "--url", address, DRIFTLOOP_WEBHOOK_TOKEN="x", code=1).stderr
    )
    assert (
        "DRIFTLOOP_WEBHOOK_TOKEN is not set"
        in world.types("resume", "p", "--url", address, code=1).stderr
    )
    done = world.types("halt", "q", "--state", str(world.state), code=1)
    assert "pipeline `q` does not run in" in done.stderr
    assert "running: p" in done.stderr
    assert (
        "nothing runs in"
        in world.types("halt", "p", "--state", str(world.state / "none"), code=1).stderr
    )
    world.service.kill()
    assert (
        "can't be reached" in world.types("resume", "p", "--state", str(world.state), code=1).stderr
    )


def test_why_says_in_one_paragraph_what_the_loop_waits_for(world):
    said = world.types("why", "p", "--state", str(world.state)).stdout
    assert said == "p is idle: waits for 2 alarms in a row of drift.\n"
    world.types("halt", "p", "--state", str(world.state), "--reason", "new camera")
    said = world.types("why", "p", "--state", str(world.state)).stdout
    assert said.startswith("p is halted: was halted at ")
    assert said.endswith(": new camera. Nothing starts until `driftloop resume p`.\n")
    document = json.loads(
        world.types("why", "p", "--state", str(world.state), "--output", "json").stdout
    )
    assert (document["pipeline"], document["phase"]) == ("p", "halted")


def test_why_without_a_service_says_what_to_do(world):
    world.service.kill()
    said = world.types("why", "p", "--state", str(world.state), code=1).stderr
    assert "/why can't be reached" in said
    assert "hint: " in said
