"""Reads of the API: found, missing, refused, not there."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from driftloop.clients.kubernetes import (
    KubernetesClient,
    KubernetesUnreachableError,
    workflow_ended,
)


class Api(BaseHTTPRequestHandler):
    """Answers by name; remembers what was asked."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012
    patched: list[tuple[str, str, bytes]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        Api.asked.append((self.path, self.headers.get("Authorization")))
        name = self.path.rsplit("/", 1)[-1]
        status = {"missing": 404, "secret": 403, "broken": 500}.get(name, 200)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b'{"status": {"phase": "Running"}}' if name != "garbage" else b"<html>")

    def do_PATCH(self) -> None:
        length = int(self.headers["Content-Length"])
        Api.patched.append((self.path, self.headers["Content-Type"], self.rfile.read(length)))
        self.send_response(403 if self.path.endswith("secret") else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Api.asked = []
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_there_and_what_is_not(api: str, tmp_path: Path) -> None:
    kubernetes = KubernetesClient.from_url(api + "/", service_account=tmp_path)
    assert kubernetes.get_workflow("n", "w") == {"status": {"phase": "Running"}}
    assert kubernetes.get_workflow("n", "missing") is None
    assert Api.asked[0] == ("/apis/argoproj.io/v1alpha1/namespaces/n/workflows/w", None)


def test_the_token_is_read_each_time(api: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    kubernetes = KubernetesClient.from_url(api, service_account=tmp_path)
    kubernetes.get_deployment("n", "d")
    (tmp_path / "token").write_text("two\n")
    kubernetes.get_kustomization("flux-system", "k")
    assert [token for _, token in Api.asked] == ["Bearer one", "Bearer two"]
    assert (
        Api.asked[1][0]
        == "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/k"
    )


@pytest.mark.parametrize("name", ["secret", "broken", "garbage"])
def test_what_can_not_be_known_is_an_error(api: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(KubernetesUnreachableError):
        KubernetesClient.from_url(api, service_account=tmp_path).get_workflow("n", name)


def test_flux_is_asked_to_fetch_now(api: str, tmp_path: Path) -> None:
    Api.patched = []
    client = KubernetesClient.from_url(api, service_account=tmp_path)
    assert client.request_fetch("flux-system", "flux-system") is None
    ((path, kind, body),) = Api.patched
    assert path.endswith("/namespaces/flux-system/gitrepositories/flux-system")
    assert kind == "application/merge-patch+json"
    (key,) = json.loads(body)["metadata"]["annotations"]
    assert key == "reconcile.fluxcd.io/requestedAt"
    assert "answered 403" in (client.request_fetch("flux-system", "secret") or "")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(KubernetesUnreachableError, match="can't be read"):
        KubernetesClient.from_url("http://127.0.0.1:1", service_account=tmp_path).get_workflow(
            "n", "w"
        )


@pytest.mark.parametrize(
    ("workflow", "over"),
    [
        (None, True),
        ({}, False),
        ({"status": {"phase": "Running"}}, False),
        ({"status": {"phase": "Failed"}}, True),
        ({"status": {"phase": "Succeeded"}}, True),
    ],
)
def test_when_a_workflow_is_over(workflow: dict[str, object] | None, over: bool) -> None:
    assert workflow_ended(workflow) is over
