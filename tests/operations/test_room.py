"""Room in the platform's JetStream: what pipelines reserve of it, before a pod finds none."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from support.processes import NATS_SERVER, Process, free_port, url

from driftloop.clients.nats import ensure_contract_stream, open_connection
from driftloop.contract.layout import default_layout
from driftloop.contract.streams import (
    DEAD_LETTERS,
    MIB,
    VERDICTS,
    AnalysisStreams,
    DetectorStreams,
    Stream,
    event_bus_stream,
)
from driftloop.errors import StoreError
from driftloop.operations.commits.room import read_room
from driftloop.operations.ground.files import read_platform
from driftloop.render import render_tree

ROOT = Path(__file__).parents[2]
SPEC = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata: {name: NAME}
spec:
  images:
    trainer: {ref: registry.test/trainer:1}
    server: {ref: registry.test/server:1}
  data: {uri: s3://data/batches}
  train: {run: "train:train"}
  evaluate: {run: "evaluate:evaluate"}
  serve: {model: Model, backend: plain}
  monitors: {drift: {}, outlier: {}}
"""


def spec(name: str, extra: str = "") -> str:
    return SPEC.replace("NAME", name) + extra


def platform(profile: str) -> dict[str, str]:
    """The tree that the guide tells to copy, with one of the profiles."""
    files = {
        file.relative_to(ROOT).as_posix(): file.read_text()
        for file in (ROOT / "cluster").rglob("*.yaml")
        if "pipelines" not in file.parts
    }
    stages = "cluster/dev/infrastructure.yaml"
    return files | {stages: files[stages].replace("/lite/", f"/{profile}/")}


def with_pipelines(profile: str, count: int, extra: str = "") -> dict[str, str]:
    tree = platform(profile)
    for number in range(count):
        tree |= render_tree(spec(f"p{number}", extra), None)
    return tree


def test_every_monitor_has_its_room() -> None:
    named = "".join(f"    m{number}: {{}}\n" for number in range(18))
    text = spec("p").replace(
        "  monitors: {drift: {}, outlier: {}}\n",
        f"  monitors:\n    drift: {{}}\n    outlier: {{}}\n{named}",
    )
    room = read_room(platform("lite") | render_tree(text, None), "dev")
    assert room is not None
    assert room.pipelines == {"p": (256 + 20 * 96) * MIB}
    assert room.is_full


@pytest.mark.parametrize(("profile", "size", "count"), [("lite", 2048, 3), ("standard", 30720, 47)])
def test_each_profile_holds_what_the_guide_says(profile: str, size: int, count: int) -> None:
    room = read_room(with_pipelines(profile, count), "dev")
    assert room is not None
    assert room.size == size * MIB
    assert room.pipelines == {f"p{number}": (256 + 2 * 96) * MIB for number in range(count)}
    assert not room.is_full
    # what reserves nothing (answers that are measured, the bus, verdicts) still needs a place
    assert room.reserved < 0.8 * room.size


def test_what_a_spec_states_is_what_its_streams_reserve() -> None:
    tree = with_pipelines("lite", 1, "  events: {broker: 1Gi, detector: 8Mi}\n")
    room = read_room(tree, "dev")
    assert room is not None
    assert room.reserved == (1024 + 2 * 8) * MIB + DEAD_LETTERS.max_bytes
    (broker,) = (text for path, text in tree.items() if path.endswith("broker.configmap.yaml"))
    assert f"maxBytes: {1024 * MIB}" in broker


def list_streams(name: str, tree: dict[str, str]) -> list[Stream]:
    """Every stream that a pipeline's programs make, the Broker's as its ConfigMap has it."""
    (broker,) = (
        text
        for path, text in tree.items()
        if path.endswith(f"{name}/default-broker.configmap.yaml")
    )
    (size,) = map(int, re.findall(r"maxBytes: (\d+)", broker))
    dead = dataclasses.replace(
        DEAD_LETTERS, name=f"DEAD_{name}", subjects=(f"dead.{name}.>",)
    )  # an account has one of its own
    detectors = (
        DetectorStreams(name, name, detector, "r1").events_stream
        for detector in ("drift", "outlier")
    )
    bus, measured = event_bus_stream(name), AnalysisStreams(name, name).responses
    events = Stream(f"BROKER_{name}", (f"{name}.>",), "", max_bytes=size)
    return [events, dead, bus, measured, *detectors]


async def make_streams(js: JetStreamContext, tree: dict[str, str], count: int) -> None:
    await ensure_contract_stream(js, VERDICTS)
    for number in range(count):
        for stream in list_streams(f"p{number}", tree):
            await ensure_contract_stream(js, stream)


async def test_a_lite_store_makes_the_streams_of_three_pipelines(tmp_path: Path) -> None:
    tree = with_pipelines("lite", 5)
    room = read_room(tree, "dev")
    assert room is not None
    store = {"store_dir": str(tmp_path / "store"), "max_file_store": room.size}
    port = free_port()
    (tmp_path / "nats.conf").write_text(json.dumps({"port": port, "jetstream": store})[1:-1])
    argv = [str(NATS_SERVER), "-a", "127.0.0.1", "-c", str(tmp_path / "nats.conf")]
    server = Process(argv, tmp_path / "nats.log", port).start()
    try:
        async with open_connection(url(server), name="test") as js:
            await make_streams(js, tree, 3)
            with pytest.raises(StoreError, match="insufficient storage"):
                await make_streams(js, tree, 5)
    finally:
        server.stop()


def test_a_tree_without_the_platforms_nats_has_no_room_to_count() -> None:
    assert read_room(render_tree(spec("p"), None), "dev") is None
    other = {
        path: text
        for path, text in platform("lite").items()
        if not path.endswith("controllers/nats.yaml")
    }
    assert read_room(other, "dev") is None


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def run_plan(file: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "driftloop.cli", "plan", str(file), "--into", str(folder)]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_plan_refuses_a_pipeline_that_the_store_has_no_room_for(tmp_path: Path) -> None:
    others = with_pipelines("lite", 4, "  events: {broker: 160Mi}\n")
    folder = write(tmp_path / "cluster", others)
    file = tmp_path / "pipeline.yaml"
    file.write_text(spec("fifth"))
    result = run_plan(file, folder)
    assert result.returncode == 1
    assert (
        "the streams of 5 pipelines reserve 2176Mi of the 2048Mi of JetStream's store in cluster "
        "`dev`, 448Mi of them fifth's"
    ) in result.stderr
    assert "--allow jetstream-full" in result.stderr
    assert run_plan(file, folder, "--allow", "jetstream-full").returncode == 0
    file.write_text(spec("fifth", "  events: {broker: 64Mi, detector: 16Mi}\n"))
    result = run_plan(file, folder)
    assert result.returncode == 0, result.stderr


def test_a_full_store_holds_no_other_change_up(tmp_path: Path) -> None:
    """Who inherits a full store may still change what reserves no more."""
    folder = write(tmp_path / "cluster", with_pipelines("lite", 6))
    file = tmp_path / "pipeline.yaml"
    file.write_text(spec("p0").replace("trainer:1", "trainer:2"))
    result = run_plan(file, folder)
    assert result.returncode == 0, result.stderr
    assert read_platform(folder, default_layout("dev"))["workflows/p0/pipeline.yaml"] == spec("p0")
