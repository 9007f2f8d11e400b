"""The loop turned for real: `driftloop demo` with each back end, and a spec that retrains from outliers."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.demo_platform import Platform, answers
from pipeline.cli.demo_traffic import Row, Traffic, read_rows
from pipeline.runtimes.local.state import State
from pipeline.spec import load

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
DRIFTLOOP = Path(sys.executable).with_name("driftloop")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("spec", ["pipeline.yaml", "plain.yaml"])
def test_every_claim_of_the_story_holds(spec, envs, tmp_path):
    state = tmp_path / "state"
    command = [DRIFTLOOP, "demo", "--spec", DIGITS / spec, "--state", state, "--envs", envs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    assert "FAILED" not in done.stdout
    assert done.stdout.count("  held  ") >= 12
    assert processes_of(state) == []


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_stopping_the_demo_leaves_nothing_behind(name, envs, tmp_path):
    state = tmp_path / "state"
    command = [DRIFTLOOP, "demo", "--spec", DIGITS / "pipeline.yaml", "--state", state, "--envs", envs]
    # a shell that runs the tests in the background has its children ignore SIGINT; a terminal does not
    command = ["env", "--default-signal=INT", *command]
    demo = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        if "the rendered tree is applied" in line:
            break
    assert processes_of(state)
    subprocess.run(["kill", f"-{name}", str(demo.pid)], check=True)
    _, said = demo.communicate(timeout=90)
    assert demo.returncode != 0
    assert "Traceback" not in said
    assert processes_of(state) == []


async def test_outliers_start_a_run(envs, tmp_path):
    spec = DIGITS / "outlier.yaml"
    pipeline = load(spec.read_text(), path=str(spec))
    name = pipeline.metadata.name
    platform = Platform(State.at(tmp_path / "state"), name, name)
    said: list[str] = []
    async with platform.running(spec, said.append, envs=envs):
        await platform.until(lambda: quiet(platform.applied), "the first commit", within=900)
        await batches("labelled", "clean", tmp_path / "labelled")
        platform.upload(sorted((tmp_path / "labelled").iterdir()), pipeline.spec.data.uri)
        first = json.loads(await trigger(platform))["run"]
        await platform.until(lambda: platform.release().production is not None, "the first release", within=300)
        await platform.until(lambda: quiet(platform.applied), "the release to be applied", within=60)
        rows: dict[str, tuple[Row, ...]] = {}
        for kind in ("clean", "noise"):
            await batches("traffic", kind, tmp_path)
            rows[kind] = read_rows(tmp_path / f"{kind}.jsonl")
        body = {"data": {"ndarray": [rows["clean"][0].pixels]}}
        await platform.until(lambda: answers(platform.predictions, body), "a prediction", within=60)
        production = platform.release().production
        assert production is not None
        verdicts = asyncio.create_task(platform.follow_verdicts())
        try:
            async with Traffic.open(platform.predictions, rows, rate=40, prefix="t") as traffic:
                traffic.turn("clean")
                await platform.until(lambda: len(platform.said("outlier", production.id)) >= 3, "windows", within=60)
                assert not any(verdict["alarm"] for verdict in platform.said("outlier", production.id))
                assert await platform.runs() == (first,)
                tally = traffic.turn("noise")
                await platform.until(lambda: tally.answered >= 150, "noise to be answered", within=60)
                traffic.turn("clean")
                await platform.until(lambda: two(platform), "a second run", within=60)
                runs = await platform.runs()
                (second,) = set(runs) - {first}
                ended = await platform.until(lambda: platform.ended(second), f"run {second} to end", within=300)
                assert ended == "Succeeded"
                assert await platform.runs() == runs
        finally:
            verdicts.cancel()
    alarm = next(verdict for verdict in platform.said("outlier", production.id) if verdict["alarm"])
    assert set(alarm["requests"]) <= set(tally.ids)
    assert processes_of(platform.state.root) == []


def quiet(applied):
    from pipeline.errors import LocalError

    try:
        return applied()
    except LocalError:
        return None


async def trigger(platform: Platform) -> str:
    return await platform.call("trigger", platform.name, "--state", str(platform.state.root), "--output", "json")


async def two(platform: Platform) -> bool:
    return len(await platform.runs()) == 2


async def batches(what: str, kind: str, to: Path) -> None:
    from uv import find_uv_bin

    from pipeline.cli.demo_platform import output

    command = [find_uv_bin(), "run", "--quiet", "--no-project", str(DIGITS / "batches.py"), what, "--kind", kind]
    await output([*command, "--to", str(to)])


def processes_of(state: Path) -> list[str]:
    """Command lines of the processes that carry the state folder's mark."""
    mark = f"DRIFTLOOP_STATE={state.resolve()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
    return found
