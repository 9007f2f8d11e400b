"""`driftloop trigger` against a webhook that answers as the local EventSource does."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from driftloop.contract.trees import GENERATED
from driftloop.git.repository import Repository, RepositoryChange
from driftloop.local.ground.addresses import BRANCH
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.guard import refuse_harm


class Webhook:
    def __init__(self) -> None:
        self.bodies: list[dict[str, str]] = []
        self.hosts: list[str] = []
        self.status = 200
        self.phase = "Succeeded"
        self.nodes: dict[str, dict[str, object]] = {}
        self.rollout: dict[str, dict[str, object]] | None = None
        self.patches: list[dict[str, object]] = []
        self.applied: list[str] = []
        """Commits that Flux has applied, one for each look; the last one stays."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                right = self.headers["Authorization"] == "Bearer tttttt" and self.path == "/retrain"
                if right:
                    outer.bodies.append(json.loads(body))
                    outer.hosts.append(self.headers["Host"])
                self.send_response(outer.status if right else 401)
                self.end_headers()
                self.wfile.write(b"success" if right else b"wrong token")

            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                if "/kustomizations/" in self.path:
                    self.send_kustomization(name)
                    return
                nodes = outer.nodes if name.startswith("digits-") else None
                if name.startswith("digits-release-"):
                    nodes = outer.rollout
                self.send_response(200 if nodes is not None else 404)
                self.end_headers()
                status = {"phase": outer.phase, "nodes": nodes}
                self.wfile.write(json.dumps({"spec": {}, "status": status}).encode())

            def send_kustomization(self, name: str) -> None:
                assert name == "digits-workflows"
                commit = outer.applied.pop(0) if len(outer.applied) > 1 else outer.applied[0]
                self.send_response(200)
                self.end_headers()
                status = {"lastAppliedRevision": f"main@sha1:{commit}"}
                self.wfile.write(json.dumps({"status": status}).encode())

            def do_PATCH(self) -> None:
                outer.patches.append(
                    json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                )
                outer.phase = "Failed"
                outer.nodes = {"finish": last("cancelled", "person eve: wrong labels")}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def webhook():
    found = Webhook()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def state(tmp_path, webhook):
    """The part of a state folder that a running platform shows."""
    run = tmp_path / "state" / "run"
    run.mkdir(parents=True)
    port = webhook.server.server_port
    addresses = {
        "digits-retrain.ml.svc.cluster.local:12000": f"127.0.0.1:{port}",
        "digits-judge.ml.svc.cluster.local:8080": "127.0.0.1:9",
    }
    (run / "addresses.json").write_text(json.dumps(addresses))
    (run / "platform.json").write_text(
        json.dumps({"configMap": {}, "secret": {"webhook-token": "tttttt"}})
    )
    return run.parent


def trigger(*arguments, code=0, command="trigger", **environment):
    # a proxy in the user's environment must not come between
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLOOP_")}
    environment = (
        clean
        | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
        | environment
    )
    done = subprocess.run(
        [sys.executable, "-m", "driftloop.cli", command, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == code, done.stderr
    return done


def test_it_asks_and_prints_the_run(state, webhook):
    done = trigger("digits", "--state", str(state), "--cause", "new\nbatches")
    (body,) = webhook.bodies
    assert done.stdout.strip() == f"digits-{body['decision']}"
    assert body["pipeline"] == "digits"
    assert body["cause"].startswith("person ")
    assert body["cause"].endswith(": new batches")
    said = json.loads(trigger("digits", "--state", str(state), "--output", "json").stdout)
    assert said["run"] == f"digits-{webhook.bodies[1]['decision']}"
    assert len({body["decision"] for body in webhook.bodies}) == 2


def commit_spec(state, text):
    """Commit the spec of digits to the state's cluster repository and return the commit."""
    repository = Repository(
        StateFolder.open_folder(state).repository_url,
        branch=BRANCH,
        workdir=state / "clone",
        guard=refuse_harm,
    )
    files = {"workflows/digits/train.yaml": f"{GENERATED} render` from a spec\n{text}\n"}
    made = repository.change(lambda tree: RepositoryChange(files, text))
    return made.sha


def test_a_run_is_of_the_spec_as_it_is_committed(state, webhook):
    bare = StateFolder.open_folder(state).repository
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", bare], check=True)
    first, second = commit_spec(state, "trees: 200"), commit_spec(state, "trees: 300")
    webhook.applied = [first, first, second]
    done = trigger("digits", "--state", str(state), **runtime(webhook))
    waiting = f"waiting: Kustomization digits-workflows has applied {first[:12]}, not yet"
    assert f"{waiting} {second[:12]}" in done.stderr
    assert webhook.applied == [second]
    assert len(webhook.bodies) == 1


def test_several_pipelines_behind_one_port_are_told_apart_by_host(state, webhook):
    file = state / "run" / "addresses.json"
    other = {
        "letters-retrain.text.svc.cluster.local:12000": f"127.0.0.1:{webhook.server.server_port}"
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | other))
    trigger("digits", "--state", str(state))
    trigger("letters", "--state", str(state))
    expected = [
        "digits-retrain.ml.svc.cluster.local:12000",
        "letters-retrain.text.svc.cluster.local:12000",
    ]
    assert webhook.hosts == expected


def last(kind="", reason="", rollout=""):
    """The node of a Workflow's last step."""
    outcome = {"outcome": kind, "reason": reason, "time": "2026-01-31T09:30:00Z"}
    if kind == "not-started":
        outcome["obstacle"] = "halted"
    values = {"outcome": json.dumps(outcome) if kind else "", "rollout": rollout}
    parameters = [{"name": name, "value": value} for name, value in values.items()]
    return pod("finish", outputs={"parameters": parameters})


def pod(name, phase="Succeeded", **more):
    return {"type": "Pod", "displayName": name, "templateName": name, "phase": phase, **more}


def runtime(webhook):
    return {
        "DRIFTLOOP_KUBERNETES_URL": webhook.url,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("kind", "code"),
    [("released", 0), ("refused", 3), ("failed", 5), ("not-started", 6), ("superseded", 7)],
)
def test_it_waits_for_the_end_and_tells_each_step(state, webhook, kind, code):
    message = (
        "retryStrategy.expression evaluated to false: Error (exit code 1): error: a.py:3: no rows"
    )
    webhook.nodes = {
        "train": pod("train(0)", "Failed", message=message),
        "finish": last(kind, "accuracy 0.1, must be at least 0.9"),
    }
    options = ("--state", str(state), "--wait", "--output", "json")
    done = trigger("digits", *options, code=code, **runtime(webhook))
    document = json.loads(done.stdout)
    assert document["outcome"] == kind
    assert document["reason"] == "accuracy 0.1, must be at least 0.9"
    assert document["time"] == "2026-01-31T09:30:00Z"
    assert "train(0) failed: a.py:3: no rows\n" in done.stderr
    assert "finish done\n" in done.stderr


def test_a_run_goes_on_in_its_rollout(state, webhook):
    webhook.nodes = {"finish": last(rollout="digits-release-r1")}
    webhook.rollout = {
        "shadow": pod("shadow", "Failed"),
        "settle": last("rejected", "agreement 0.2"),
    }
    done = trigger("digits", "--state", str(state), "--wait", code=4, **runtime(webhook))
    assert done.stdout.strip() == f"digits-{webhook.bodies[0]['decision']}"
    assert "goes on in digits-release-r1" in done.stderr
    assert "shadow failed" in done.stderr
    assert "rejected: agreement 0.2" in done.stderr
    until = ("--state", str(state), "--wait", "--until", "rollout", "--output", "json")
    document = json.loads(trigger("digits", *until, **runtime(webhook)).stdout)
    assert (document["outcome"], document["rollout"]) == (None, "digits-release-r1")


def test_a_workflow_without_a_last_step_has_failed(state, webhook):
    webhook.phase = "Error"
    done = trigger("digits", "--state", str(state), "--wait", code=5, **runtime(webhook))
    assert "failed: its workflow ended as Error without an outcome" in done.stderr


def test_a_run_is_cancelled(state, webhook):
    webhook.phase = "Running"
    cancel = ("digits-0af3", "--namespace", "ml", "--state", str(state), "--reason", "wrong labels")
    done = trigger(*cancel, command="cancel", **runtime(webhook))
    [patch] = webhook.patches
    assert patch["spec"] == {"shutdown": "Stop"}
    assert patch["metadata"]["annotations"]["driftloop.dev/cancelled-by"].endswith(": wrong labels")
    assert "cancelled: person eve: wrong labels" in done.stderr
    done = trigger(*cancel, command="cancel", code=1, **runtime(webhook))
    assert "run `digits-0af3` has ended: cancelled: person eve" in done.stderr
    missing = ("letters-0af3", *cancel[1:])
    assert (
        "run `letters-0af3` does not exist"
        in trigger(*missing, command="cancel", code=1, **runtime(webhook)).stderr
    )


def test_an_unknown_pipeline_lists_those_that_run(state):
    assert (
        "pipeline `letters` does not run"
        in trigger("letters", "--state", str(state), code=1).stderr
    )
    assert "running: digits" in trigger("letters", "--state", str(state), code=1).stderr


def test_a_cluster_is_reached_by_its_address(webhook):
    trigger("digits", "--url", f"{webhook.url}/retrain", DRIFTLOOP_WEBHOOK_TOKEN="tttttt")
    assert len(webhook.bodies) == 1


@pytest.mark.parametrize(
    ("token", "status", "said"),
    [("wrong", 200, "refuses the token"), ("tttttt", 503, "the webhook answered 503")],
)
def test_a_refusal_says_why(webhook, token, status, said):
    webhook.status = status
    done = trigger(
        "digits", "--url", f"{webhook.url}/retrain", DRIFTLOOP_WEBHOOK_TOKEN=token, code=1
    )
    assert said in done.stderr
    assert "tttttt" not in done.stderr


def test_nobody_there():
    done = trigger(
        "digits", "--url", "http://127.0.0.1:9/retrain", DRIFTLOOP_WEBHOOK_TOKEN="x", code=1
    )
    assert "can't be reached" in done.stderr


@pytest.mark.parametrize("cause", ["$(AWS_SECRET_ACCESS_KEY)", "as {{workflow.name}}"])
def test_a_cause_that_something_else_would_be_put_in_the_place_of(state, webhook, cause):
    said = trigger("digits", "--state", str(state), "--cause", cause, code=2).stderr
    assert f"`{cause}` must not contain" in said
    assert webhook.bodies == []
