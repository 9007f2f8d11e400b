"""The client of an MLflow server against servers that answer anything else."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from driftloop.clients import mlflow
from driftloop.clients.mlflow import (
    MlflowClient,
    MlflowError,
    MlflowRefusedError,
    MlflowRun,
    MlflowUnreachableError,
)


class Server:
    """Answers each request with the same status and body, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.location = ""
        self.asked: list[tuple[str, str, str | None]] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                outer.asked.append((self.command, self.path, self.headers.get("Authorization")))
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()
                self.wfile.write(outer.body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    thread = threading.Thread(target=it.http.serve_forever, args=(0.02,))
    thread.start()
    yield it
    it.http.shutdown()
    thread.join()
    it.http.server_close()


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "t0ken"}, "Bearer t0ken"),
        (
            {"MLFLOW_TRACKING_USERNAME": "eve", "MLFLOW_TRACKING_PASSWORD": "pä:ss"},
            "Basic " + base64.b64encode("eve:pä:ss".encode()).decode(),
        ),
        ({"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "eve"}, "Bearer t"),
    ],
)
def test_credentials_are_those_of_mlflow_s_own_tools(
    server: Server, environment: dict[str, str], header: str | None
) -> None:
    client = MlflowClient.from_environment(server.url, environment)
    client.delete_run("a")
    assert server.asked == [("POST", "/api/2.0/mlflow/runs/delete", header)]
    assert "t0ken" not in repr(client)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (200, b"<html>a page</html>", MlflowUnreachableError, "does not answer as MLflow does"),
        (200, b"[]", MlflowUnreachableError, "does not answer as MLflow does"),
        (200, b"{}", MlflowUnreachableError, "has no `run`"),
        (200, b'{"run": {"data": {}}}', MlflowUnreachableError, "is not a run"),
        (200, b'{"run": {"info": {"run_id": "a", "end_time": "x"}}}', MlflowUnreachableError, "is not a run"),
        (401, b"", MlflowRefusedError, "answered 401"),
        (403, b"no", MlflowRefusedError, "answered 403: no"),
        (404, b"<html>not MLflow</html>", MlflowRefusedError, "answered 404"),
        (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "bad\\nname"}', MlflowRefusedError, "bad name"),
        (400, b'{"error_code": 7}', MlflowRefusedError, "answered 400: 7"),
        (429, b"", MlflowUnreachableError, "answered 429"),
        (500, b"{", MlflowUnreachableError, "answered 500"),
        (503, b"later", MlflowUnreachableError, "later"),
    ],
)  # fmt: skip
def test_what_mlflow_does_not_answer_is_named(
    server: Server, status: int, body: bytes, kind: type[MlflowError], said: str
) -> None:
    server.status, server.body = status, body
    with pytest.raises(kind, match=said):
        MlflowClient(server.url).create_run("1", "run", 0, {})


def test_a_refused_credential_names_its_secret(server: Server) -> None:
    server.status = 401
    with pytest.raises(MlflowRefusedError) as error:
        MlflowClient(server.url, "Bearer x").ensure_experiment("a")
    assert "`driftloop-tracking`" in str(error.value.hint)


def test_a_credential_goes_to_no_other_host(server: Server) -> None:
    server.status, server.location = 302, "http://127.0.0.1:1/elsewhere"
    with pytest.raises(MlflowRefusedError, match="answered 302"):
        MlflowClient(server.url, "Bearer x").ensure_experiment("a")
    assert len(server.asked) == 1


def test_nobody_there_and_nobody_who_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        for listens in (False, True):
            if listens:
                silent.listen()
            client = MlflowClient(f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(MlflowUnreachableError, match="can't be reached"):
                client.find_versions("digits")


def test_a_server_that_never_stops_talking(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "LARGEST", 1000)
    server.body = b" " * 1001
    with pytest.raises(MlflowUnreachableError, match="more than 1000 bytes"):
        MlflowClient(server.url).find_versions("digits")


def test_artifacts_that_a_server_keeps_elsewhere_are_not_sent(server: Server) -> None:
    run = MlflowRun("a", "s3://bucket/1/a/artifacts", "FINISHED", None, {}, {}, {})
    assert not MlflowClient(server.url).put_artifact(run, "run.json", b"{}")
    assert server.asked == []


def test_many_values_go_in_parts_that_mlflow_takes(server: Server) -> None:
    params, metrics = ({f"{kind}{n}": 1.0 for n in range(1050)} for kind in "pm")
    client = MlflowClient(server.url)
    client.log("a", params=dict.fromkeys(params, "1"), metrics=metrics, tags={}, time=1)
    sent = [json.loads(body) for body in server.bodies]
    assert sum(len(part["params"]) for part in sent) == 1050
    assert sum(len(part["metrics"]) for part in sent) == 1050
    assert max(len(part["params"]) for part in sent) == 100
