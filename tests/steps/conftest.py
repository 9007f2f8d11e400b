"""Steps run as the command they are, against a real nats-server, a real S3 server and a real git repository.

What is not of this test (broker, judge, Kubernetes API) is one small HTTP server that answers, at the address of
HTTP_PROXY as the local runtime's Envoy does.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.commands import type_command
from support.committed import copy_committed
from support.processes import PATIENCE, free_port

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.git.repository import Repository
from driftloop.local.ground.binaries import find_nats_server, find_rclone
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import CommittedPipeline
from tests.pipelines import SPEC

KEY, SECRET = "testtesttest", "secretsecretsecret"
BUCKET = StoreLocation("driftloop")
DATA = StoreLocation("digits", "batches")


def start(command: list[str], port: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            assert process.poll() is None, command
            assert time.monotonic() < deadline, command
            time.sleep(0.05)


def stop(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    folder = tmp_path_factory.mktemp("nats")
    process = start(
        [str(find_nats_server()), "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)],
        port,
    )
    yield f"nats://127.0.0.1:{port}"
    stop(process)


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    folder = tmp_path_factory.mktemp("s3")
    address = f"127.0.0.1:{port}"
    process = start(
        [
            str(find_rclone()),
            "serve",
            "s3",
            "--addr",
            address,
            "--auth-key",
            f"{KEY},{SECRET}",
            str(folder),
        ],
        port,
    )
    yield f"http://{address}"
    stop(process)


@dataclass
class Around:
    """Everything around a step that is not under test; each answer can be set, each request is kept."""

    events: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    objects: dict[str, Any] = field(default_factory=dict)
    """`<plural>/<name>` -> object of the Kubernetes API, or a function that makes it."""
    judgement: Callable[[dict[str, str]], Any] = lambda question: None
    last: Any = None
    """What the judge says it has said last."""
    questions: list[dict[str, str]] = field(default_factory=list)
    broker_status: int = 202
    clock: Callable[[], float] = time.time
    """The judge's."""
    user: str | None = None
    """Whom the Kubernetes API takes everybody for; None of one that does not say."""


def merge(value: Any, patch: Any) -> Any:
    """A JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    value = value if isinstance(value, dict) else {}
    return {**value, **{key: merge(value.get(key), item) for key, item in patch.items()}}


def serve(around: Around) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            around.events.append(
                {name.lower(): value for name, value in self.headers.items()} | {"url": self.path}
            )
            around.bodies.append(json.loads(body))
            if self.path.endswith("/selfsubjectreviews"):
                said = {"status": {"userInfo": {"username": around.user}}}
                self.answer(404 if around.user is None else 201, said)
                return
            self.answer(around.broker_status, None)

        def do_PATCH(self) -> None:
            """Merge into an object as it was read: one with an older version is refused."""
            patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = "/".join(self.path.split("/")[-2:])
            found = around.objects[key]
            version = found["metadata"]["resourceVersion"]
            asked = patch.get("metadata", {}).get("resourceVersion", version)
            if asked != version:
                self.answer(409, {"message": "the object has been modified"})
                return
            found = merge(found, patch)
            found["metadata"]["resourceVersion"] = str(int(version) + 1)
            around.objects[key] = found
            self.answer(200, found)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/judgement":
                last = around.last
                question = {name: values[0] for name, values in parse_qs(parts.query).items()} | {
                    "host": parts.netloc
                }
                around.questions.append(question)
                said = (
                    around.judgement(question)
                    if "since" in question
                    else {"now": around.clock(), "last": last}
                )
                if said is not None:
                    said = {"now": around.clock(), **said}
                self.answer(503 if said is None else 200, said)
                return
            found = around.objects.get("/".join(parts.path.split("/")[-2:]))
            found = found() if callable(found) else found
            self.answer(404 if found is None else 200, found)

        def answer(self, status: int, value: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@dataclass
class World:
    """A pipeline's platform as a step sees it."""

    folder: Path
    remote: Path
    environment: dict[str, str]
    store: ObjectStore
    around: Around
    namespace: str

    def step(
        self, name: str, *arguments: str, code: int = 0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `driftloop step NAME …` to its end."""
        return type_command(
            "step",
            name,
            *arguments,
            folder=self.folder,
            environment=self.environment | environment,
            code=code,
        )

    def begin(self, name: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a step and go on."""
        command = [sys.executable, "-m", "driftloop.cli", "step", name, *arguments]
        return subprocess.Popen(
            command,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", self.remote, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.rstrip("\n")

    def base(self) -> CommittedPipeline:
        return pipelines.read_pipeline(self.repository.tree(self.repository.tip()), "digits")

    @property
    def repository(self) -> Repository:
        return Repository(
            f"file://{self.remote}", guard=refuse_harm, workdir=self.folder / "repository"
        )


@pytest.fixture
def world(tmp_path: Path, nats_url: str, s3_url: str) -> Iterator[World]:
    with make_world(tmp_path, nats_url, s3_url) as found:
        yield found


@contextlib.contextmanager
def make_world(tmp_path: Path, nats_url: str, s3_url: str) -> Iterator[World]:
    """A platform with the committed spec, in empty buckets."""
    remote = tmp_path / "cluster.git"
    copy_committed(SPEC, remote)
    store = ObjectStore.from_endpoint(s3_url, access_key=KEY, secret_key=SECRET)
    for bucket in (BUCKET, DATA):
        store.create_bucket(bucket.bucket)
        for entry in store.list_objects(StoreLocation(bucket.bucket)):
            store.delete_object(StoreLocation(bucket.bucket, entry.key))
    around = Around()
    server = serve(around)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    environment = os.environ | {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "DRIFTLOOP_BUCKET": BUCKET.bucket,
        "NATS_URL": nats_url,
        "NATS_READER_URL": nats_url,
        "DRIFTLOOP_GIT_URL": f"file://{remote}",
        "DRIFTLOOP_GIT_BRANCH": "main",
        "DRIFTLOOP_KUBERNETES_URL": address,
        "HTTP_PROXY": address,
        "http_proxy": address,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    # one nats-server serves all tests of a session: each has a namespace, and so a decision, of its own
    namespace = f"n{server.server_port}"
    yield World(tmp_path, remote, environment, store, around, namespace)
    server.shutdown()
    thread.join()
    server.server_close()
