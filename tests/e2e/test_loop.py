"""The loop turned for real: the demo, the table example on the plain back end, a spec that retrains from outliers."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.listeners import is_loopback, listeners_of
from support.loops import applied, batches, processes_of
from support.mlflow_server import MlflowServer, NoMlflowError
from support.streams import stored

from driftloop.clients import events
from driftloop.clients.mlflow import MlflowClient
from driftloop.clients.nats import open_connection
from driftloop.clients.s3 import ObjectStore, files_below, folder_digest, parse_location
from driftloop.contract.events import INFERENCE_REQUEST
from driftloop.contract.streams import DetectorStreams
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.demo.traffic import DigitRow, TrafficGenerator, read_rows
from driftloop.local.ground.state import StateFolder
from driftloop.release.record import Version
from driftloop.spec import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
DRIFTLOOP = Path(sys.executable).with_name("driftloop")

# the example's own waits are for a working day
SHORT = """\
  retrain: {on: [drift], consecutive: 2, cooldown: 5s, budget: 4/day}
  rollout:
    shadow: {for: 3s, requests: 50, agreement: auto}
    canary: {steps: [20, 50], every: 3s, requests: 25, errorRate: 0.01, p99: 500ms}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_every_claim_of_the_story_holds(envs, tmp_path):
    state = tmp_path / "state"
    command = [DRIFTLOOP, "demo", "--state", state, "--envs", envs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    assert "FAILED" not in done.stdout
    assert done.stdout.count("  held  ") >= 14
    assert processes_of(state) == []


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_stopping_the_demo_leaves_nothing_behind(name, envs, tmp_path):
    state = tmp_path / "state"
    command = [DRIFTLOOP, "demo", "--state", state, "--envs", envs]
    # a shell that runs the tests in the background has its children ignore SIGINT; a terminal does not
    command = ["env", "--default-signal=INT", *command]
    demo = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        if "the rendered tree is applied" in line:
            break
    assert processes_of(state)
    subprocess.run(["kill", f"-{name}", str(demo.pid)], check=True)
    _, said = demo.communicate(timeout=300)
    assert demo.returncode != 0
    assert "Traceback" not in said
    assert processes_of(state) == []


async def test_without_the_operator_a_table_drifts_and_its_model_is_replaced(
    envs, tmp_path, tracking
):
    """A tracking server that is killed before the drift and comes back during the rollout changes nothing, and
    shows all of it."""
    project = tmp_path / "tabular"
    shutil.copytree(EXAMPLES / "tabular", project)
    spec = project / "pipeline.yaml"
    text = spec.read_text().replace("serve: {model", "serve: {backend: plain, model")
    url = tracking.url if tracking is not None else "http://127.0.0.1:9"
    tracked = f'  tracking: {{mlflow: "{url}"}}\n'
    spec.write_text(text[: text.index("  retrain:")] + SHORT + tracked)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "tumours", "tumours")
    async with platform.run_up(spec, print, envs=envs):
        await asyncio.gather(
            batches(project, "labelled", "clean", "shifted", to=tmp_path / "labelled"),
            batches(project, "traffic", "clean", "shifted", to=tmp_path / "traffic"),
        )
        rows = {
            kind: read_rows(tmp_path / "traffic" / f"{kind}.jsonl") for kind in ("clean", "shifted")
        }
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        first = await trained(platform, tmp_path, "clean")
        before = platform.read_release().production
        assert before is not None
        if tracking is not None:
            tracking.kill()
        held = listeners_of(platform.state.root)
        assert any("seldon-core-microservice" in command for command in held.values())
        assert [door for door in held if not is_loopback(door)] == []
        verdicts = asyncio.create_task(platform.follow_verdicts())
        try:
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=50, prefix="t"
            ) as traffic:
                clean = traffic.switch_rows("clean")
                await platform.wait_until(
                    lambda: len(platform.list_verdicts("drift", before.id)) >= 3,
                    "windows",
                    within=300,
                )
                assert not any(
                    verdict["alarm"] for verdict in platform.list_verdicts("drift", before.id)
                )
                upload(platform, tmp_path, "shifted")
                shifted = traffic.switch_rows("shifted")
                await platform.wait_until(
                    lambda: is_heard_in_canary(platform, "drift"),
                    "the detector to hear of the canary",
                    within=300,
                )
                back = asyncio.create_task(start_again(tracking))
                await platform.wait_until(
                    lambda: other(platform, before.id), "a new production release", within=300
                )
                await platform.wait_until(
                    lambda: applied(platform), "the promotion to be applied", within=300
                )
                after = traffic.switch_rows("shifted")
                await platform.wait_until(
                    lambda: after.answered >= 169, "each row to be answered", within=300
                )
        finally:
            verdicts.cancel()
        await platform.wait_until(
            lambda: is_all_heard(platform, "drift"), "the detector to hear of all", within=300
        )
        runs = await platform.list_runs()
        production = platform.read_release().production
        assert production is not None
        await back
        if tracking is not None:
            await is_tracked(platform, tracking, {before.run: before, production.run: production})
        way = (await trace(platform, after.ids[-1]))["links"]
        assert {link["kind"] for link in way} >= {"request", "release", "run", "batch", "window"}
        assert way[0]["role"] == "production"
        assert {link["id"] for link in way if link["kind"] == "run"} == {production.run}
        assert {link["id"] for link in way if link["kind"] == "model"} == {production.model_digest}
        assert await is_reproduced(platform, production.run)
        moves = (await platform.run_git("log", "--reverse", "--format=%s", "main")).splitlines()
        if tracking is not None:
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=50, prefix="g"
            ) as traffic:
                traffic.switch_rows("shifted")
                await is_given(platform, tracking, tmp_path / "given", production)
    print(clean, shifted, after, sep="\n")
    assert clean.failed == shifted.failed == after.failed == 0
    assert clean.accuracy > 0.9
    assert after.accuracy > 0.9 > shifted.accuracy
    assert set(runs) == {first, production.run}
    rollout = [
        "Release {} of tumours in shadow",
        "Send 20 % to {} of tumours",
        "Send 50 % to {} of tumours",
    ]
    rollout += ["End the rollout of {} of tumours: accepted", "Promote {} of tumours"]
    assert moves[-5:] == [move.format(production.id) for move in rollout]
    assert processes_of(platform.state.root) == []


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer | None]:
    """A real MLflow server; None, and the loop without it, where it can't be installed."""
    folder = tmp_path_factory.mktemp("mlflow")
    try:
        server = MlflowServer.prepare(folder / "environment", folder)
    except NoMlflowError as error:
        print(error)
        yield None
        return
    yield server.start()
    server.kill()


async def start_again(server: MlflowServer | None) -> None:
    if server is not None:
        await asyncio.to_thread(server.start)


async def is_tracked(
    platform: DemoPlatform, server: MlflowServer, versions: Mapping[str, Version]
) -> None:
    """Both runs are at the server once, with their trials and models, however often it is told."""
    state = ("--state", str(platform.state.root))
    status = json.loads(await platform.run_command("status", *state, "--output", "json"))
    assert set(status["tracking"]) == {"tumours.tumours"}
    for more in ((), ("--all",)):
        await platform.run_command("tracking", "sync", "tumours", *state, *more)
    runs = server.parents("tumours")
    # an alarm on a slow machine may have begun a run that found nothing new, or was refused
    assert set(versions) <= set(runs)
    for run, version in versions.items():
        assert runs[run]["status"] == "FINISHED"
        assert runs[run]["tags"]["driftloop.model"] == version.model_digest
        assert runs[run]["metrics"]["all/accuracy"] == version.metrics["accuracy"]
        assert server.trials("tumours", runs[run]["id"])
        report = json.loads(server.artifact(runs[run], "run.json"))
        assert report["result"]["outcome"] == "released"
    first, second = versions.values()
    assert server.aliases("tumours") == {"previous": first.id, "production": second.id}
    assert len(server.versions("tumours")) == 2


async def is_given(
    platform: DemoPlatform, server: MlflowServer, folder: Path, production: Version
) -> None:
    """A model that somebody has registered at the server goes the way of any candidate, and is production."""
    store = ObjectStore.from_environment(platform.read_store())
    store.get_folder(parse_location(production.model), folder)
    (folder / "NOTE").write_text("the same model, from elsewhere")
    client = MlflowClient(server.url)
    run = client.create_run(client.ensure_experiment("elsewhere"), "by hand", 0, {})
    for name in files_below(folder):
        assert client.put_artifact(run, f"model/{name}", (folder / name).read_bytes())
    version = client.create_version("tumours", f"{run.artifacts}/model", run.id, {})
    client.set_alias("tumours", "champion", version.number)
    state = ("--state", str(platform.state.root))
    said = await platform.run_command(
        "release", "tumours", "--model", "models:/tumours@champion", *state, "-o", "json"
    )
    given = json.loads(said)["run"]
    await platform.wait_until(
        lambda: other(platform, production.id), f"{given} to be released", within=300
    )
    now = platform.read_release().production
    assert now is not None
    assert (now.run, now.model_digest) == (given, folder_digest(folder))
    assert (now.recipe_digest, now.forced) == (None, True)
    assert now.metrics == production.metrics
    assert now.rehearsed is not None
    report = json.loads(await platform.run_command("runs", "show", given, *state, "-o", "json"))
    assert report["function"].startswith(f"models:/tumours/{version.number} of {server.url}")
    assert report["digests"]["recipe"] is None
    await platform.run_command("tracking", "sync", "tumours", *state)
    assert server.aliases("tumours")["production"] == now.id


async def test_outliers_start_a_run(envs, tmp_path):
    spec = DIGITS / "outlier.yaml"
    pipeline = load_spec(spec.read_text(), path=str(spec))
    name = pipeline.metadata.name
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), name, name)
    async with platform.run_up(spec, print, envs=envs):
        await asyncio.gather(
            batches(DIGITS, "labelled", "clean", to=tmp_path / "labelled"),
            batches(DIGITS, "traffic", "clean", "noise", to=tmp_path / "traffic"),
        )
        rows: dict[str, tuple[DigitRow, ...]] = {}
        for kind in ("clean", "noise"):
            rows[kind] = read_rows(tmp_path / "traffic" / f"{kind}.jsonl")
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        first = await trained(platform, tmp_path, "clean")
        production = platform.read_release().production
        assert production is not None
        verdicts = asyncio.create_task(platform.follow_verdicts())
        try:
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=40, prefix="t"
            ) as traffic:
                traffic.switch_rows("clean")
                await platform.wait_until(
                    lambda: len(platform.list_verdicts("outlier", production.id)) >= 3,
                    "windows",
                    within=300,
                )
                assert not any(
                    verdict["alarm"] for verdict in platform.list_verdicts("outlier", production.id)
                )
                assert await platform.list_runs() == (first,)
                tally = traffic.switch_rows("noise")
                await platform.wait_until(
                    lambda: tally.answered >= 150, "noise to be answered", within=300
                )
                traffic.switch_rows("clean")
                await platform.wait_until(lambda: two(platform), "a second run", within=300)
                runs = await platform.list_runs()
                (second,) = set(runs) - {first}
                ended = await platform.wait_until(
                    lambda: platform.read_outcome(second), f"run {second} to end", within=300
                )
                assert ended == "Succeeded"
                assert await platform.list_runs() == runs
        finally:
            verdicts.cancel()
        kinds = {link["kind"]: link for link in (await trace(platform, second))["links"]}
        assert kinds["alarm"]["release"] == production.id
        assert kinds["window"]["alarm"]
        assert await is_reproduced(platform, first)
    alarm = next(
        verdict for verdict in platform.list_verdicts("outlier", production.id) if verdict["alarm"]
    )
    assert set(alarm["requests"]) <= set(tally.ids)
    assert processes_of(platform.state.root) == []


async def trace(platform: DemoPlatform, id: str) -> dict[str, Any]:
    """Everything that a request, release or run comes of."""
    state = ("--state", str(platform.state.root))
    document: dict[str, Any] = json.loads(
        await platform.run_command("trace", id, *state, "-o", "json")
    )
    return document


async def is_reproduced(platform: DemoPlatform, run: str) -> bool:
    """Whether a run that is run again makes the very same model."""
    state = ("--state", str(platform.state.root))
    said = json.loads(await platform.run_command("reproduce", run, *state, "-o", "json"))
    assert said["metrics"] == []
    return bool(said["same"])


def upload(platform: DemoPlatform, folder: Path, kind: str) -> None:
    """Labelled rows land in the data bucket."""
    platform.upload_files(
        sorted((folder / "labelled").glob(f"{kind}-*")), f"s3://{platform.name}/batches"
    )


async def trained(platform: DemoPlatform, folder: Path, kind: str) -> str:
    """Train the first release and wait until it answers; the run's name."""
    upload(platform, folder, kind)
    command = ("trigger", platform.name, "--state", str(platform.state.root), "--output", "json")
    run = json.loads(await platform.run_command(*command))["run"]
    await platform.wait_until(
        lambda: platform.read_release().production is not None, "the first release", within=300
    )
    await platform.wait_until(lambda: applied(platform), "the release to be applied", within=300)
    row = json.loads(next((folder / "traffic").glob("clean.jsonl")).read_text().splitlines()[0])
    body = {"data": {"ndarray": [row["x"]]}}
    await platform.wait_until(
        lambda: is_answered(platform.predictions, body), "a prediction", within=300
    )
    return str(run)


async def list_heard(platform: DemoPlatform, detector: str, release: str) -> list[str]:
    """Ids of the requests of a release that have come to a detector."""
    streams = DetectorStreams(platform.name, platform.name, detector, release)
    async with open_connection(platform.nats_url, name="test") as js:
        subject = streams.event_subject(release)
        kept = await stored(js, streams.stream, subject=subject)
    return [message.id.rpartition(" ")[2] for message in kept]


async def is_heard_in_canary(platform: DemoPlatform, detector: str) -> bool:
    """What the candidate is asked comes to the detector before the promotion."""
    release = platform.read_release()
    if release.phase != "canary" or release.candidate is None:
        return False
    return bool(await list_heard(platform, detector, release.candidate.id))


async def is_all_heard(platform: DemoPlatform, detector: str) -> bool:
    """From the first request that came to the detector of production, in its canary, none is missing."""
    production = platform.read_release().production
    assert production is not None
    async with open_connection(platform.nats_url, name="test") as js:
        asked = [
            event.id
            for message in await stored(js, f"KN_{platform.name.upper()}__DEFAULT")
            if (event := events.unpack_event(message.data)).type == INFERENCE_REQUEST
            and event.get("endpoint") == production.id
        ]
    heard = set(await list_heard(platform, detector, production.id))
    first = next((i for i, id in enumerate(asked) if id in heard), len(asked))
    print(
        f"{len(asked)} requests of {production.id}, {first} before its canary, {len(heard)} heard"
    )
    return bool(heard) and set(asked[first:]) == heard


def other(platform: DemoPlatform, release: str) -> bool:
    """Whether another release than this one is production, alone."""
    now = platform.read_release()
    return now.phase == "stable" and now.production is not None and now.production.id != release


async def two(platform: DemoPlatform) -> bool:
    return len(await platform.list_runs()) == 2
