"""The doors of a running instance: which there are, and who gets in."""

import asyncio
import contextlib
import stat
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import nats
import nats.errors
import psutil
import pytest
from support.listeners import is_loopback, listeners_of
from support.loops import processes_of

from driftloop.clients.nats import connect_client
from driftloop.contract.platform import NATS
from driftloop.errors import StoreError
from driftloop.local.ground.addresses import short_path
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.kubelet import images
from driftloop.plan import images as refs
from tests.local.conftest import (
    Git,
    Start,
    Up,
    deployment,
    eventually,
    get,
    kustomization,
    service,
    virtual_service,
)

EVERYWHERE = """
import asyncio, http.server, socket, sys, threading
port, host = int(sys.argv[sys.argv.index("--port") + 1]), sys.argv[sys.argv.index("--host") + 1]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

async def listen():
    await asyncio.start_server(lambda reader, writer: None, None, 0)
    await asyncio.Event().wait()

class Six(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

threading.Thread(target=Six(("", 0), Handler).serve_forever, daemon=True).start()
threading.Thread(target=asyncio.run, args=(listen(),), daemon=True).start()
threading.Thread(target=http.server.HTTPServer(("", 0), Handler).serve_forever, daemon=True).start()
http.server.HTTPServer((host, port), Handler).serve_forever()
"""
"""A server of somebody who thinks of a pod: all addresses, in each way that Python has."""


def judge(namespace: str) -> dict[str, Any]:
    """The Deployment of one of our services, as a tree has it."""
    made = deployment("judge", namespace=namespace, ref=refs.DRIFTLOOP)
    container = made["spec"]["template"]["spec"]["containers"][0]
    setting = {"configMapKeyRef": {"name": "driftloop-platform", "key": "nats-url"}}
    container |= {
        "command": ["driftloop-judge"],
        "args": ["--namespace", namespace, "--pipeline", "shop", "--port", "8080"],
        "env": [{"name": "NATS_URL", "valueFrom": setting}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
    }
    return made


@pytest.fixture
def everywhere(tmp_path: Path, start: Start, envs: Path, git: Git) -> Up:
    """An instance with a server that listens on all addresses, and one of our own services."""
    up = start()
    folder = tmp_path / "everywhere"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "serve.py").write_text(EVERYWHERE)
    ref = "example.org/everywhere:1"
    images.register_image(up.state, ref, folder, envs=envs, say=lambda _: None)
    open_to_all = deployment("wide", ref=ref)
    container = open_to_all["spec"]["template"]["spec"]["containers"][0]
    container |= {
        "command": ["python", "serve.py"],
        "args": ["--host", "0.0.0.0", "--port", "8080"],
    }
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-deployments", "deployments/shop", "infra-configs")
        ],
        "deployments/shop/wide.yaml": [open_to_all, service("wide")],
        "deployments/shop/judge.yaml": [judge("shop"), service("judge")],
    }
    up.wait_up()
    up.wait_applied(git.commit(files, "Add servers that listen on all addresses"))
    return up


def test_everything_listens_on_the_loopback_address(everywhere: Up) -> None:
    names = {process["name"] for process in everywhere.status()["processes"]}
    assert {"shop/wide", "shop/judge"} <= names
    # it is ready with its own door, which may be before those of its threads
    held = eventually(
        lambda: (
            (found := listeners_of(everywhere.state.root))
            and sum("serve.py" in command for command in found.values()) >= 4
            and found
        ),
        what="a server's four doors",
    )
    for program in ("nats-server", "rclone", "envoy", "knative", "argo_run", "judge"):
        assert any(program in command for command in held.values()), program
    assert {door: command for door, command in held.items() if not is_loopback(door)} == {}


async def test_nats_asks_for_the_credential_of_the_state_folder(start: Start) -> None:
    up = start().wait_up()
    address = f"127.0.0.1:{up.ports['nats']}"
    right = LocalSettings.load(up.state)[NATS]
    password = (up.state.secrets / "nats-password").read_text()
    for url in (
        f"nats://{address}",
        f"nats://{password}@{address}",
        f"nats://driftloop:x{password[1:]}@{address}",
        f"nats://driftloop:@{address}",
    ):
        with pytest.raises((nats.errors.Error, TimeoutError)):
            await nats.connect(url, connect_timeout=2, allow_reconnect=False)
    with pytest.raises(StoreError) as refused:
        await connect_client(right.replace(password, "secret-guess"), name="guess", wait=3)
    assert "secret-guess" not in str(refused.value)
    client = await connect_client(right, name="test")
    await client.jetstream().account_info()
    await client.close()


def test_no_credential_can_be_read_by_another_user(everywhere: Up) -> None:
    state = everywhere.state
    secrets = {file.name: file.read_text() for file in state.secrets.iterdir()}
    assert {"nats-password", "s3-secret", "webhook-token"} <= set(secrets)
    for command in processes_of(state.root):
        shown = [name for name, secret in secrets.items() if secret in command]
        assert not shown, command
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700
    for folder in (state.run, state.secrets):
        for file in folder.rglob("*"):
            if not file.is_file() or not any(
                secret in file.read_text(errors="replace") for secret in secrets.values()
            ):
                continue
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_envoy_s_admin_interface_has_no_port(start: Start, git: Git) -> None:
    """`/drain_listeners` or `/quitquitquit` need no credential: whoever gets in ends the gateway."""
    up = start().wait_up()
    (envoy,) = (
        process["pid"] for process in up.status()["processes"] if process["name"] == "envoy"
    )
    doors = [
        door for door, command in listeners_of(up.state.root).items() if "bin/envoy" in command
    ]
    assert set(doors) == {f"127.0.0.1:{up.ports[name]}" for name in ("gateway", "proxy")}
    for door in doors:
        for host in ("localhost", "envoy", door):
            status, _ = get(f"http://{door}/drain_listeners", {"Host": host})
            assert status in (404, 502, 503, 508), (door, host)
    (socket,) = up.state.run.rglob("*.sock")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    with short_path(socket) as short:
        reader, writer = await asyncio.open_unix_connection(short)
        writer.write(b"GET /ready HTTP/1.1\r\nHost: envoy\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        writer.close()
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-deployments", "deployments/shop", "infra-configs")
        ],
        "deployments/shop/a.yaml": [deployment("a"), service("a")],
    }
    up.wait_applied(git.commit(files, "Add a route, which `up` waits for through the socket"))
    assert envoy in [process["pid"] for process in up.status()["processes"]]


async def test_a_prediction_has_a_limit(start: Start, git: Git, tmp_path: Path) -> None:
    """38 MB, with a length and without one: refused at the gateway, the model server sees neither."""
    record = tmp_path / "requests.jsonl"
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-deployments", "deployments/shop", "infra-configs")
        ],
        "deployments/shop/a.yaml": [deployment("a", RECORD=str(record)), service("a")],
        "deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 100}),
    }
    up = start().wait_up()
    up.wait_applied(git.commit(files, "Add the shop"))
    size = 38_000_000

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(38):
            yield b"[" * 1_000_000

    async with aiohttp.ClientSession() as session:
        for body, status in ((b"x" * 1_000_000, 200), (b"[" * size, 413), (pieces(), 413)):
            try:
                async with session.post(up.url("/seldon/shop/model/predict"), data=body) as answer:
                    assert answer.status == status
            except aiohttp.ClientConnectionError:
                assert status == 413, "it hung up while we were still sending"
    assert len(record.read_text().splitlines()) == 1


async def test_a_route_names_its_limit(start: Start, git: Git) -> None:
    """Less than the default, and more, by the name of the committed route; a new commit moves it."""
    routes = virtual_service({"a": 100})
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-deployments", "deployments/shop", "infra-configs")
        ],
        "deployments/shop/a.yaml": [deployment("a"), service("a")],
    }
    up = start().wait_up()
    for name, answers in (
        ("request-limit-1mi", {900_000: 200, 1_200_000: 413}),
        ("request-limit-16mi", {9_000_000: 200, 15_000_000: 200, 17_000_000: 413}),
    ):
        routes["spec"]["http"][0]["name"] = name
        files["deployments/shop/traffic.virtualservice.yaml"] = routes
        up.wait_applied(git.commit(files, f"Name the route {name}"))
        async with aiohttp.ClientSession() as session:
            for size, status in answers.items():
                try:
                    url = up.url("/seldon/shop/model/predict")
                    async with session.post(url, data=b"x" * size) as answer:
                        assert answer.status == status, (name, size)
                except aiohttp.ClientConnectionError:
                    assert status == 413, "it hung up while we were still sending"


@pytest.mark.parametrize("part", ["broker", "webhook"])
async def test_hostile_clients_do_not_silence_a_door(start: Start, part: str) -> None:
    """1,100 requests that were begun and not ended, and headers that never end."""
    up = start().wait_up()
    port = up.ports[part]
    path = "/health" if part == "webhook" else "/healthz"
    pid = children_of(up)["argo" if part == "webhook" else part]
    before = psutil.Process(pid).memory_info().rss
    writers = []
    for _ in range(1100):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /retrain HTTP/1.1\r\nhost: x\r\n")
        writers.append(writer)
    for writer in writers[-20:]:
        writer.write(b"long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                writer.write(b"y" * 16384)
                await writer.drain()
    status, _ = await asyncio.to_thread(get_text, f"http://127.0.0.1:{port}{path}")
    assert status == 200
    assert psutil.Process(pid).memory_info().rss - before < 64 * 2**20
    for writer in writers:
        writer.close()


def children_of(up: Up) -> dict[str, int]:
    """Process name -> pid."""
    return {process["name"]: process["pid"] for process in up.status()["processes"]}


def get_text(url: str) -> tuple[int, str]:
    """Status and text of a GET."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        return answer.status, answer.read().decode()
