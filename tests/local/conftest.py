"""Small real things to run: an image that answers HTTP, a cluster repository, a running `driftloop up`."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.processes import PATIENCE, place_ports

from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet import images
from driftloop.local.up import prepare

ECHO = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def _answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if os.environ.get("RECORD") and self.path != "/ready":
            headers = {k.lower(): v for k, v in self.headers.items()}
            with open(os.environ["RECORD"], "a") as stream:
                stream.write(json.dumps({"name": os.environ.get("NAME"), "headers": headers}) + "\\n")
        if self.path.startswith("/slow"):
            time.sleep(float(os.environ.get("SLOW", "0.3")))
        answer = {"name": os.environ.get("NAME"), "path": self.path, "env": dict(os.environ)}
        out = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)
    do_GET = do_POST = _answer
    def log_message(self, *_): pass

print("listening", sys.argv, flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""

REF = "example.org/echo:1"


@pytest.fixture(scope="session")
def envs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of environments for the session: the empty one is built once."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """The folder of an image that echoes over HTTP."""
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "echo.py").write_text(ECHO)
    return folder


@pytest.fixture
def state(tmp_path: Path, envs: Path, context: Path) -> StateFolder:
    """A state folder with the echo image and an empty cluster repository."""
    state = StateFolder.open_folder(tmp_path / "state")
    state.create_folders()
    place_ports(state)
    prepare.prepare_repository(state)
    images.register_image(state, REF, context, envs=envs, say=lambda _: None)
    return state


class Git:
    """A working copy of the cluster repository, as a person has one."""

    def __init__(self, state: StateFolder, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self("init", "-q", "-b", "main")
        self("remote", "add", "origin", state.repository_url)

    def __call__(self, *arguments: str) -> str:
        environment = {
            **os.environ,
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
        }  # fmt: skip
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(
            command, check=True, env=environment, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, files: Mapping[str, Any], subject: str = "Change") -> str:
        """Write files (None removes one; objects become YAML), commit, push; returns the commit."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            objects = content if isinstance(content, list) else [content]
            path.write_text(
                content
                if isinstance(content, str)
                else yaml.safe_dump_all(objects, sort_keys=False)
            )
        self("add", "-A")
        self("commit", "-q", "-m", subject)
        self("push", "-q", "origin", "main")
        return self("rev-parse", "HEAD")


@pytest.fixture
def git(state: StateFolder, tmp_path: Path) -> Git:
    return Git(state, tmp_path / "copy")


def kustomization(name: str, path: str, *depends: str) -> dict[str, Any]:
    """A Flux Kustomization as the generator writes them."""
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": {
            "interval": "1m",
            "path": f"./{path}",
            "prune": True,
            "wait": True,
            "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
            **({"dependsOn": [{"name": other} for other in depends]} if depends else {}),
        },
    }


def deployment(name: str, *, namespace: str = "shop", ref: str = REF, **env: str) -> dict[str, Any]:
    """A Deployment of the echo image."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [
                        {
                            "name": "echo",
                            "image": ref,
                            "command": ["python", "echo.py"],
                            "args": ["--port", "8080"],
                            "env": [{"name": "NAME", "value": name}]
                            + [{"name": key, "value": value} for key, value in env.items()],
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                        }
                    ]
                },
            },
        },
    }


def service(name: str, *, namespace: str = "shop", port: int = 8000) -> dict[str, Any]:
    """The Service of a Deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": 8080}],
        },
    }


def virtual_service(
    weights: Mapping[str, int], mirror: str | None = None, *, namespace: str = "shop"
) -> dict[str, Any]:
    """Gateway routes to Services by weight."""

    def destination(name: str) -> dict[str, Any]:
        return {"host": f"{name}.{namespace}.svc.cluster.local", "port": {"number": 8000}}

    route: dict[str, Any] = {
        "match": [{"uri": {"prefix": f"/seldon/{namespace}/model/"}}],
        "rewrite": {"uri": "/"},
        "route": [
            {"destination": destination(name), "weight": weight} for name, weight in weights.items()
        ],
    }
    if mirror is not None:
        route |= {"mirror": destination(mirror), "mirrorPercentage": {"value": 100}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "model", "namespace": namespace},
        "spec": {"hosts": ["*"], "gateways": ["istio-system/seldon-gateway"], "http": [route]},
    }


def get(
    url: str, headers: Mapping[str, str] | None = None, *, proxy: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a GET; status 0 when nothing answers."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": proxy} if proxy else {})
    )
    try:
        with opener.open(
            urllib.request.Request(url, headers=dict(headers or {})), timeout=30
        ) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, {}
    except OSError:
        return 0, {}


def eventually(check: Callable[[], Any], timeout: float = PATIENCE, what: str = "") -> Any:
    """The first true value of `check`."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or check}"
        time.sleep(0.1)


class Up:
    """`driftloop up` as a process."""

    def __init__(self, state: StateFolder, envs: Path, *arguments: str) -> None:
        self.state = state
        self.log = state.root.parent / "up.log"
        command = [
            sys.executable,
            "-m",
            "driftloop.cli",
            "up",
            "--state",
            str(state.root),
            "--envs",
            str(envs),
            *arguments,
        ]
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def ports(self) -> dict[str, int]:
        return self.state.known_ports()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}{path}"

    def status(self) -> dict[str, Any]:
        return get(f"http://127.0.0.1:{self.ports.get('api', 1)}/status")[1]

    def wait_up(self) -> "Up":
        eventually(
            lambda: (self.state.run / "up").exists() or self.process.poll() is not None, what="up"
        )
        assert self.process.poll() is None, self.log.read_text()
        return self

    def wait_applied(self, sha: str) -> None:
        eventually(
            lambda: self.status().get("applied") == sha,
            what=f"{sha} applied; {self.log.read_text()[-2000:]}",
        )

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(PATIENCE)


Start = Callable[..., Up]
"""What starts `up` with further arguments."""


@pytest.fixture
def start(state: StateFolder, envs: Path) -> Iterator[Start]:
    """Start `driftloop up` on the state folder; it is stopped at the end."""
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(state, envs, *arguments))
        return started[-1]

    yield start
    for up in started:
        up.stop()
