"""What is told of a run while it goes on: steps that end, and how far those are that say so."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.contract.outcomes import RunOutcome
from driftloop.operations.runs import runs

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)


def workflow(phase: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    """A run's Workflow."""
    found = {str(number): node for number, node in enumerate(nodes)}
    return {"metadata": {"name": "digits-1"}, "status": {"phase": phase, "nodes": found}}


def node(display: str, progress: str, phase: str = "Running", type: str = "Pod") -> dict[str, Any]:
    return {
        "name": f"digits-1.{display}",
        "displayName": display,
        "type": type,
        "phase": phase,
        "startedAt": BEGAN.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "progress": progress,
    }


@pytest.fixture
def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of an API server, and what it answers next; the last answer stays."""
    left: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", left
    server.shutdown()
    server.server_close()


def test_a_step_says_how_far_it_is_now_and_then(
    answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "POLL", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url, left = answers
    claim = node("claim", "1/1", "Succeeded")
    left += [
        # Argo counts pods that say nothing as 0 of 1, and adds up those below a node that is none
        workflow("Running", claim, node("train", "0/1"), node("main", "3/12", type="DAG")),
        workflow("Running", claim, node("train", "3/12")),
        # too soon after it
        workflow("Running", claim, node("train", "4/12")),
        workflow("Failed", claim, node("train", "12/12", "Failed")),
    ]
    told: list[str] = []
    ended = runs.follow_training(KubernetesClient(url), "digits", "digits-1", told.append)
    assert isinstance(ended, RunOutcome)
    assert told[0] == "claim done"
    assert told[1].startswith("train: 3 of 12, about ")
    assert told[1].endswith((" s left", " min left"))
    assert told[2:] == ["train failed"]


def test_what_waits_for_a_person_is_told_once(
    answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "POLL", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url, left = answers
    given = {"run": "digits-1", "asks": "the run goes on", "approvers": '["ann"]'}
    waits = node("approve-label", "", type="Suspend") | {
        "id": "n1",
        "inputs": {"parameters": [{"name": k, "value": v} for k, v in given.items()]},
    }
    running = workflow("Running", waits)
    left += [running, running, workflow("Failed", waits | {"phase": "Failed"})]
    told: list[str] = []
    runs.follow_training(KubernetesClient(url), "digits", "digits-1", told.append)
    since = waits["startedAt"]
    assert told == [
        f"digits-1 waits since {since} for the approval of ann: the run goes on; `driftloop approve` lets it go on"
    ]
