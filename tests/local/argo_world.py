"""A state folder with a real nats-server, a real S3 server and the stand-in for Argo as a process of its own."""

import asyncio
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
from pathlib import Path
from typing import Any

import nats
import yaml
from aiohttp import web
from support.processes import PATIENCE, place_ports

from driftloop.clients.nats import list_keys
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.local.argo.store import BUCKET
from driftloop.local.ground.state import MARK, StateFolder
from driftloop.local.kubelet import images
from driftloop.local.up.api import StandInApi

BIN = Path(sys.executable).parent
TOKEN = "let-me-in"
REF = "example.com/steps:1"
NAMESPACE = "digits"

Json = dict[str, Any]


class World:
    """Everything a test of the stand-in needs; `close` kills all of it."""

    def __init__(self, root: Path) -> None:
        self.state = StateFolder.open_folder(root / "state")
        self.state.create_folders()
        place_ports(self.state)
        self.ports = self.state.choose_ports()
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.objects: list[Json] = []
        self._write_platform()
        self.app = root / "app"
        self.app.mkdir()

    def start(self) -> None:
        """All three processes."""
        self.start_nats()
        self.start_s3()
        self.store.create_bucket("driftloop")
        self.start_argo()

    def start_s3(self) -> None:
        serve = (
            BIN / "rclone",
            "serve",
            "s3",
            f"--addr=127.0.0.1:{self.ports['s3']}",
            "--auth-key=user,secret",
        )
        self.spawn("s3", [*serve, self.state.s3], self.ports["s3"])

    def start_nats(self) -> None:
        self.spawn(
            "nats",
            [
                BIN / "nats-server",
                "-js",
                "-sd",
                self.state.nats,
                "-a",
                "127.0.0.1",
                "-p",
                str(self.ports["nats"]),
            ],
            self.ports["nats"],
        )

    def start_argo(self) -> None:
        command = [
            sys.executable,
            "-m",
            "driftloop.local.argo_run",
            "--state",
            str(self.state.root),
        ]
        self.spawn("argo", command, self.ports["webhook"])

    def spawn(self, name: str, command: list[Any], port: int) -> None:
        log = (self.state.logs / f"{name}.log").open("ab")
        env = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "RCLONE_CONFIG": "/dev/null",
            MARK: str(self.state.root),
        }
        self.children[name] = subprocess.Popen(
            [str(word) for word in command], env=env, stdout=log, stderr=log, start_new_session=True
        )
        until(lambda: _listens(port), f"{name} listens")

    def kill(self, name: str, sent: int = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""
        child = self.children.pop(name)
        child.send_signal(sent)
        child.wait(PATIENCE)

    def close(self) -> None:
        for name in list(self.children):
            with contextlib.suppress(ProcessLookupError):
                self.kill(name)

    @property
    def store(self) -> ObjectStore:
        return ObjectStore.from_endpoint(
            f"http://127.0.0.1:{self.ports['s3']}", access_key="user", secret_key="secret"
        )

    def image(self, **scripts: str) -> None:
        """The one image, whose code folder holds these Python files."""
        for name, text in scripts.items():
            (self.app / f"{name}.py").write_text(text)
        images._write_record(
            self.state, REF, env=Path(sys.prefix), context=self.app, content="", scripts={}
        )

    def apply(self, *objects: Json) -> None:
        """What the reconciler would do after a commit; the runner has read it when this returns."""
        self.objects, revision = list(objects), str(time.time_ns())
        temporary = self.state.run / "new"
        temporary.write_text(json.dumps({"revision": revision, "objects": self.objects}))
        os.replace(temporary, self.state.objects)
        log = self.state.logs / "argo.log"
        until(lambda: f"applied {revision}:" in log.read_text(), "the runner has the objects")

    def submit(self, spec: Json, name: str = "run", **metadata: Any) -> str:
        """Create a Workflow, as any program may."""
        from driftloop.local.argo.store import Workflows

        async def create() -> str:
            client = await nats.connect(f"nats://127.0.0.1:{self.ports['nats']}")
            try:
                workflows = await Workflows.open(client.jetstream())
                manifest = {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Workflow",
                    "metadata": {"name": name, **metadata},
                    "spec": spec,
                }
                made, _ = await workflows.create(manifest, namespace=NAMESPACE)
                return made
            finally:
                await client.close()

        return asyncio.run(create())

    def workflows(self) -> dict[str, Json]:
        """All Workflows by name."""

        async def read() -> dict[str, Json]:
            client = await nats.connect(f"nats://127.0.0.1:{self.ports['nats']}")
            try:
                js = client.jetstream()
                bucket = await js.key_value(BUCKET)
                found = []
                for key in await list_keys(js, BUCKET):
                    # one may be deleted meanwhile
                    with contextlib.suppress(nats.js.errors.KeyNotFoundError):
                        found.append(json.loads((await bucket.get(key)).value or b""))
                return {item["metadata"]["name"]: item for item in found}
            finally:
                await client.close()

        return asyncio.run(read())

    def delete(self, name: str) -> None:
        async def remove() -> None:
            client = await nats.connect(f"nats://127.0.0.1:{self.ports['nats']}")
            try:
                await (await client.jetstream().key_value(BUCKET)).delete(f"{NAMESPACE}.{name}")
            finally:
                await client.close()

        asyncio.run(remove())

    def stop(self, name: str) -> None:
        """Set `shutdown`, as the API does for `driftloop cancel`."""
        from driftloop.local.argo.store import Workflows

        async def write() -> None:
            client = await nats.connect(f"nats://127.0.0.1:{self.ports['nats']}")
            try:
                workflows = await Workflows.open(client.jetstream())
                assert await workflows.stop(NAMESPACE, name, {"by": "eve"}) is not None
            finally:
                await client.close()

        asyncio.run(write())

    def end_suspended(self, name: str, node: str, who: str, reason: str) -> None:
        """Supply what a suspended node waits for, as the API does for `driftloop approve`."""
        from driftloop.local.argo.store import Workflows

        given = {"who": who, "when": "2026-01-02T03:04:05Z", "reason": reason}
        change = {
            "phase": "Succeeded",
            "finishedAt": given["when"],
            "outputs": {"parameters": [{"name": k, "value": v} for k, v in given.items()]},
        }

        async def write() -> None:
            client = await nats.connect(f"nats://127.0.0.1:{self.ports['nats']}")
            try:
                workflows = await Workflows.open(client.jetstream())
                assert await workflows.end_suspended(NAMESPACE, name, node, change) is not None
            finally:
                await client.close()

        asyncio.run(write())

    @contextlib.contextmanager
    def api(self) -> Iterator[str]:
        """The stand-in for the Kubernetes API as `up` serves it, without what the reconciler knows; its URL."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        async def serve() -> tuple[nats.NATS, web.AppRunner]:
            client = await nats.connect(f"nats://127.0.0.1:{self.ports['nats']}")
            unknown: Any = None
            api = StandInApi(
                reconciler=unknown, fleet=unknown, js=client.jetstream(), status=lambda: {}
            )
            runner = web.AppRunner(api.build_application())
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.ports["api"]).start()
            return client, runner

        client, runner = asyncio.run_coroutine_threadsafe(serve(), loop).result(PATIENCE)
        try:
            yield f"http://127.0.0.1:{self.ports['api']}"
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE)
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(PATIENCE)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def finished(self, name: str = "run") -> Json:
        """A Workflow when it is over."""

        def over() -> Json | None:
            found = self.workflows().get(name)
            phase = (found or {}).get("status", {}).get("phase")
            return found if phase in ("Succeeded", "Failed", "Error") else None

        return until(over, f"{name} ends", seconds=2 * PATIENCE, every=0.1)

    def node(self, workflow: Json, display: str) -> Json:
        """A node by its display name."""
        found = [n for n in workflow["status"]["nodes"].values() if n["displayName"] == display]
        assert found, (display, [n["displayName"] for n in workflow["status"]["nodes"].values()])
        return found[0]

    def log(self, workflow: str, node: str) -> str:
        return (self.state.logs / workflow / f"{node}.log").read_text()

    def text(self, key: str) -> str:
        """An object in the artifact bucket."""
        return self.store.read_object(StoreLocation("driftloop", key)).decode()

    def _write_platform(self) -> None:
        repository = {
            "s3": {
                "endpoint": f"127.0.0.1:{self.ports['s3']}",
                "insecure": True,
                "bucket": "driftloop",
                "accessKeySecret": {"name": "driftloop-platform", "key": "accesskey"},
                "secretKeySecret": {"name": "driftloop-platform", "key": "secretkey"},
            }
        }
        self.state.platform.write_text(
            json.dumps(
                {
                    "configMap": {
                        "nats-url": f"nats://127.0.0.1:{self.ports['nats']}",
                        "s3-bucket": "driftloop",
                        "artifact-repository": yaml.safe_dump(repository),
                    },
                    "secret": {"accesskey": "user", "secretkey": "secret", "webhook-token": TOKEN},
                }
            )
        )


def until(
    condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE, every: float = 0.05
) -> Any:
    """The first true value of a condition."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(every)
    return found


def container(*args: str, image: str = REF, **more: Any) -> Json:
    """A container with the usual volume, running one of the image's files."""
    return {
        "image": image,
        "command": ["python"],
        "args": list(args),
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        **more,
    }


def spec(*templates: Json, entrypoint: str = "main", **more: Any) -> Json:
    """A Workflow's spec with the usual artifact repository, and the usual volume in its pods."""
    volumes = {"volumes": [{"name": "work", "emptyDir": {}}]}
    return {
        "entrypoint": entrypoint,
        "templates": [
            {**volumes, **template} if "container" in template else template
            for template in templates
        ],
        "artifactRepositoryRef": {"configMap": "driftloop-platform", "key": "artifact-repository"},
        **more,
    }


def out_parameter(name: str, **more: Any) -> Json:
    return {"name": name, "valueFrom": {"path": f"/work/out/parameters/{name}", **more}}


def artifact(name: str, key: str | None = None, *, side: str = "out") -> Json:
    """A folder of plain files under /work/in or /work/out."""
    found: Json = {"name": name, "path": f"/work/{side}/{name}"}
    if side == "out":
        found["archive"] = {"none": {}}
    if key is not None:
        found["s3"] = {"key": key}
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
