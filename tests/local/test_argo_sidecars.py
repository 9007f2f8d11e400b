"""Sidecars of a workflow's step: processes that live as long as its container, and can be asked over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop.errors import LocalError
from driftloop.local.flux import admission
from tests.local.argo_world import REF, Json, World, container, out_parameter, spec, until

SCRIPTS = {
    "server": """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = pathlib.Path(sys.argv[1]).read_text()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{text} {os.environ.get('SECRET')}".encode())
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", int(os.environ["SERVER_PORT"])), Handler).serve_forever()
""",
    "ask": """
import json, pathlib, sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for attempt in range(2000):
    try:
        said = opener.open(sys.argv[1], timeout=2).read().decode()
        break
    except OSError:
        time.sleep(0.05)
out = pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
(out / "said").write_text(said)
(out / "pid").write_text(pathlib.Path(sys.argv[3]).read_text())
""",
    "idle": "import time; time.sleep(float(__import__('sys').argv[1]))",
    "fail": "import pathlib, sys; print('no model here'); pathlib.Path(sys.argv[2]).touch(); sys.exit(int(sys.argv[1]))",
    "after": """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
time.sleep(1)
""",
}
PREPARE = (
    "import pathlib; folder = pathlib.Path('/shared/server'); folder.mkdir(parents=True, exist_ok=True);"
    "(folder / 'text').write_text('hello')"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("argo"))
    made.image(**SCRIPTS)
    try:
        made.start()
        yield made
    finally:
        made.close()


def sidecar(*args: str, name: str = "server", **more: object) -> Json:
    return {"name": name, "image": REF, "command": ["python"], "args": list(args), **more}


def step(main: Json, *sidecars: Json, **more: object) -> Json:
    return {
        "name": "main",
        "container": main,
        "sidecars": list(sidecars),
        "volumes": [{"name": name, "emptyDir": {}} for name in ("shared", "work")],
        **more,
    }


def test_a_container_asks_its_sidecar_which_ends_with_it(world: World) -> None:
    shared = {"name": "shared", "mountPath": "/shared"}
    server = sidecar(
        "-c",
        f"{PREPARE}; import runpy, sys; sys.argv = ['server.py', '/shared/server/text', '/own/pid'];"
        "runpy.run_path('server.py')",
        env=[{"name": "SERVER_PORT", "value": "9000"}],
        ports=[{"containerPort": 9000}],
        volumeMounts=[shared, {"name": "shared", "mountPath": "/own", "subPath": "server"}],
    )
    asks = container(
        "ask.py", "http://localhost:9000/", "/work/out/parameters", "/shared/server/pid"
    )
    asks["volumeMounts"].append(shared)
    asks["env"] = [{"name": "SECRET", "value": "of the main container"}]
    outputs = {"parameters": [out_parameter("said"), out_parameter("pid")]}
    world.submit(spec(step(asks, server, outputs=outputs)), name="asked")
    done = world.finished("asked")
    assert done["status"]["phase"] == "Succeeded", done["status"]
    said, pid = (item["value"] for item in world.node(done, "asked")["outputs"]["parameters"])
    assert said == "hello None"
    until(lambda: not Path(f"/proc/{pid}").exists(), "the sidecar is gone")


@pytest.mark.parametrize(
    ("code", "phase", "message"),
    [
        (0, "Succeeded", ""),
        (143, "Succeeded", ""),
        (3, "Failed", "sidecar server: Error (exit code 3): no model here"),
    ],
)
def test_a_sidecar_that_fails_by_itself_fails_the_step(
    world: World, tmp_path: Path, code: int, phase: str, message: str
) -> None:
    name, ends = f"early-{code}", str(tmp_path / "ends")
    main = container("after.py", ends)
    world.submit(spec(step(main, sidecar("fail.py", str(code), ends))), name=name)
    done = world.finished(name)
    assert done["status"]["phase"] == phase
    assert world.node(done, name).get("message", "") == message


def test_a_deleted_workflow_takes_its_sidecars_along(world: World) -> None:
    world.submit(spec(step(container("idle.py", "600"), sidecar("idle.py", "601"))), name="gone")
    until(lambda: running("601"), "the sidecar runs")
    world.delete("gone")
    until(lambda: not running("601"), "the sidecar is gone")


def running(word: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"idle.py" in words and word.encode() in words:
            return True
    return False


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"name": "main"}, "a sidecar is named `main`"),
        ({"mirrorVolumeMounts": True}, "`spec.templates.0.sidecars.0.mirrorVolumeMounts`"),
        ({"ports": [{"containerPort": 9000}]}, "port 9000 is declared, but neither"),
        ({"readinessProbe": {}}, "`spec.templates.0.sidecars.0.readinessProbe`"),
    ],
)
def test_what_is_not_followed_is_refused_with_the_commit(broken: Json, words: str) -> None:
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": "x", "namespace": "n"},
        "spec": spec(step(container("idle.py", "1"), {**sidecar("idle.py", "1"), **broken})),
    }
    with pytest.raises(LocalError) as raised:
        admission.admit_object(json.loads(json.dumps(manifest)), "a.yaml")
    assert words in raised.value.message
