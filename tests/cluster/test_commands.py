"""Commands with `--cluster`: an API server on the loopback, and a kubectl that forwards to what runs here."""

import json
import os
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import type_command

TOKEN = "s3cret"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/ml/workflows"
USER = "ann@acme.example"


def make_workflow() -> dict[str, Any]:
    """A rollout that waits for a person."""
    inputs = {
        "pipeline": "digits", "run": "digits-1", "asks": "r1 is promoted",
        "approvers": json.dumps([USER]),
    }  # fmt: skip
    node = {
        "id": "n1", "name": "digits-release-r1.approval", "displayName": "approval",
        "type": "Suspend", "phase": "Running", "startedAt": "2026-11-30T10:00:00Z",
        "inputs": {"parameters": [{"name": name, "value": value} for name, value in inputs.items()]},
        "outputs": {"parameters": [{"name": name, "valueFrom": {"supplied": {}}} for name in ("who", "when", "reason")]},
    }  # fmt: skip
    return {
        "metadata": {
            "name": "digits-release-r1", "namespace": "ml", "resourceVersion": "7",
            "labels": {"app.kubernetes.io/name": "digits"},
        },
        "status": {"phase": "Running", "nodes": {"n1": node}},
    }  # fmt: skip


def make_pod(name: str, pipeline: str) -> dict[str, Any]:
    """A pod of a pipeline with one container."""
    metadata = {"name": name, "labels": {"app.kubernetes.io/name": pipeline}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "model"}]}}


class Cluster:
    """What the API server has, and what was asked of it and of the services behind it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        outer = self

        class Api(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length)
                body = json.loads(text) if text.startswith(b"{") else None
                outer.asked.append((self.command, self.path, body))
                answer = outer.answer(self.command, self.path.partition("?")[0], self.headers)
                self.send_response(200 if answer is not None else 404)
                self.end_headers()
                self.wfile.write(json.dumps(answer or {}).encode())

            do_GET = do_POST = do_PATCH = handle_any

            def log_message(self, format: str, *arguments: object) -> None:
                """Silence."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_port

    def answer(self, method: str, path: str, headers: Any) -> dict[str, Any] | None:
        match method, path:
            case "GET", "/api/v1/namespaces/ml/secrets/driftloop-platform":
                return {"data": {"webhook-token": b64encode(TOKEN.encode()).decode()}}
            case "GET", "/api/v1/namespaces/ml/pods":
                return {"items": [make_pod("digits-r1-0", "digits"), make_pod("other", "else")]}
            case "GET", "/api/v1/namespaces/ml/pods/digits-r1-0/log":
                return {"printed": "by the server"}
            case "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews":
                return {"status": {"userInfo": {"username": USER}}}
            case "GET", found if found == WORKFLOWS:
                return {"items": [make_workflow()]}
            case "PATCH", found if found == f"{WORKFLOWS}/digits-release-r1":
                return make_workflow()
            case "POST", "/halt" | "/resume":
                # the decision, behind the forwarded port
                assert headers["Authorization"] == f"Bearer {TOKEN}"
                return {"phase": path[1:], "halt": None}
            case "POST", "/retrain":
                assert headers["Authorization"] == f"Bearer {TOKEN}"
                return {}
        return None


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    found = Cluster()
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "other",
        "clusters": [
            {"name": "here", "cluster": {"server": f"http://127.0.0.1:{found.port}"}},
            {"name": "other", "cluster": {"server": "http://127.0.0.1:9"}},
        ],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": "u"}} for name in ("here", "other")
        ],
        "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/forwards\n'
        f'echo "Forwarding from 127.0.0.1:{found.port} -> 1"\nexec sleep 60\n'
    )
    kubectl.chmod(0o755)
    yield found
    found.server.shutdown()
    found.server.server_close()


def types(folder: Path, *words: str, code: int = 0, namespace: str = "ml") -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLOOP_")}
    clean |= {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return type_command(
        *words, "--cluster", "--kubeconfig", str(folder / "config"), "--context", "here", "-n", namespace,
        folder=folder, environment=clean, code=code,
    )  # fmt: skip


def test_a_service_is_reached_without_a_port_forward_by_hand(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert types(tmp_path, "halt", "digits", "--reason", "look").stdout == "halt\n"
    assert types(tmp_path, "resume", "digits").stdout == "resume\n"
    run = types(tmp_path, "trigger", "digits").stdout.split()[0]
    assert run.startswith("digits-")
    forwards = (tmp_path / "forwards").read_text().splitlines()
    assert forwards == [
        f"--kubeconfig {tmp_path}/config --context here -n ml port-forward service/digits-{service}"
        for service in ("decision :8080", "decision :8080", "retrain :12000")
    ]
    assert [path for method, path, _ in cluster.asked if method == "POST"] == [
        "/halt",
        "/resume",
        "/retrain",
    ]
    both = types(tmp_path, "resume", "digits", "--url", "http://localhost:1", code=2).stderr
    assert "--url and --cluster are two ways to one service" in both


def test_a_namespace_without_the_token_is_told(cluster: Cluster, tmp_path: Path) -> None:
    said = types(tmp_path, "halt", "digits", namespace="digits", code=1).stderr
    assert "namespace `digits` has no Secret driftloop-platform with `webhook-token`" in said
    assert "name the pipeline's namespace with -n" in said


def test_who_approves_is_whom_the_api_server_takes_them_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    said = types(tmp_path, "approve", "digits", "--reason", "figures are fine", "-o", "yaml")
    document = yaml.safe_load(said.stdout)
    assert (document["run"], document["who"]) == ("digits-1", USER)
    (patch,) = [body for method, _, body in cluster.asked if method == "PATCH"]
    assert patch["metadata"] == {"resourceVersion": "7"}
    (node,) = patch["status"]["nodes"].values()
    assert node["phase"] == "Succeeded"


def test_a_run_that_is_not_there_is_told(cluster: Cluster, tmp_path: Path) -> None:
    said = types(tmp_path, "cancel", "digits-4f0c1d2e3a5b", code=1).stderr
    assert "run `digits-4f0c1d2e3a5b` does not exist" in said
    assert [path for _, path, _ in cluster.asked] == [f"{WORKFLOWS}/digits-4f0c1d2e3a5b"]


def test_logs_of_a_pipeline_s_pods_are_printed(cluster: Cluster, tmp_path: Path) -> None:
    said = types(tmp_path, "logs", "digits", "--lines", "5").stdout
    assert said == '==> digits-r1-0/model <==\n{"printed": "by the server"}\n'
    assert cluster.asked[-1][1].endswith("/log?container=model&tailLines=5")
    said = types(tmp_path, "logs", "nothing", code=1).stderr
    assert "namespace `ml` has no pod of `nothing`, it has: digits-r1-0, other" in said
    assert "the timeline is that of one machine" in types(tmp_path, "logs", code=2).stderr
