"""Runs and releases in a real MLflow server, seen through its own API."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.mlflow_server import MlflowServer
from support.stored_runs import Shelf

from driftloop.clients.mlflow import MlflowClient, MlflowRefusedError
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.runs import RunReport
from driftloop.contract.trees import report_key, run_key
from driftloop.operations.runs.run_reports import KnownRun, RunFolder, find_report, write_report
from driftloop.release import record
from driftloop.release.record import Version
from driftloop.tracking.mirror import TrackingServer, send_run
from driftloop.tracking.outbox import TrackingBox
from driftloop.tracking.roles import load_versions
from driftloop.tracking.sync import send_aliases, send_waiting
from tests.pipelines import SPEC
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FIRST, SECOND, THIRD = (f"digits-{letter * 12}" for letter in "abc")


@pytest.fixture
def shelf(tmp_path: Path, s3_url: str, mlflow: MlflowServer) -> Shelf:
    """Each test has an experiment and a model of its own."""
    name = f"digits-{tmp_path.name}"[:60]
    spec = SPEC + f"  tracking: {{mlflow: '{mlflow.url}', name: '{name}'}}\n"
    return Shelf.open(tmp_path, s3_url, spec=spec)


def name_of(shelf: Shelf) -> str:
    return f"digits-{shelf.home.name}"[:60]


def box_of(shelf: Shelf) -> TrackingBox:
    return TrackingBox(shelf.store, shelf.bucket, "digits")


def server_of(shelf: Shelf, mlflow: MlflowServer) -> TrackingServer:
    return TrackingServer(MlflowClient(mlflow.url), name_of(shelf))


def outcome(kind: Any = "released") -> RunOutcome:
    return RunOutcome(kind=kind, reason="told", time="2026-01-31T10:00:00Z")


def put(shelf: Shelf, run: str, ended: RunOutcome | None, *, release: bool = True) -> Version:
    """Store a run with two trials, and word that it must be sent."""
    about = KnownRun(pipeline="digits", cause="alarm 42: hue 1 -> 2", outcome=ended)
    shelf.put_run(
        run,
        parameters=({"rate": 0.1}, {"rate": 0.2, "solver": 'it\'s "new"'}),
        accuracies=(0.91, 0.97),
        chosen=1,
        known=about,
        outcome=ended,
    )
    version = shelf.make_version(run)
    if release:
        change(shelf, run, release=version.id)
    box_of(shelf).add(run)
    return version


def change(shelf: Shelf, run: str, **changes: Any) -> None:
    """Write run.json anew, and word of it."""
    folder = RunFolder(shelf.store, shelf.bucket, run)
    report = find_report(folder)
    assert report is not None
    write_report(folder, replace(report, **changes))
    box_of(shelf).add(run)


def test_the_story_of_a_pipeline_is_seen_there(shelf: Shelf, mlflow: MlflowServer) -> None:
    name = name_of(shelf)
    first = put(shelf, FIRST, outcome())
    shelf.store.write_object(shelf.bucket / run_key(FIRST, "card.md"), b"# The card\n")
    shelf.move(lambda it: record.release_first(it, first), first)
    assert shelf.types("tracking", "sync", "digits").stdout.splitlines() == [
        f"sent {FIRST}", "production is version 1",
    ]  # fmt: skip
    assert mlflow.aliases(name) == {"production": first.id}
    (run,) = mlflow.parents(name).values()
    assert (run["name"], run["status"]) == (FIRST, "FINISHED")
    assert run["params"] == {"rate": "0.2", "solver": 'it\'s "new"'}
    assert run["metrics"]["all/accuracy"] == run["metrics"]["recent/accuracy"] == 0.97
    assert run["metrics"]["rows/all"] == 200
    assert run["tags"]["driftloop.outcome"] == "released"
    assert run["tags"]["driftloop.cause"] == "alarm 42: hue 1 -> 2"
    assert run["tags"]["driftloop.model"] == first.model_digest
    trials = mlflow.trials(name, run["id"])
    assert [trials[n]["metrics"] for n in "01"] == [{"accuracy": 0.91}, {"accuracy": 0.97}]
    assert trials["0"]["params"] == {"rate": "0.1"}
    assert trials["0"]["end"] - trials["0"]["start"] == 1500
    stored = shelf.store.read_object(shelf.bucket / report_key(FIRST))
    assert mlflow.artifact(run, "run.json") == stored
    assert mlflow.artifact(run, "card.md") == b"# The card\n"
    assert json.loads(mlflow.artifact(run, "model.json")) == {
        "model": first.model, "digest": first.model_digest, "release": first.id,
    }  # fmt: skip
    (version,) = mlflow.versions(name).values()
    assert (version["source"], version["run_id"]) == (first.model, run["id"])

    # a candidate whose rollout goes on, its promotion, and a person who takes it back
    second = put(shelf, SECOND, None)
    shelf.move(lambda it: record.start_shadow(it, second), second)
    shelf.types("tracking", "sync", "digits")
    assert mlflow.aliases(name) == {"production": first.id, "candidate": second.id}
    assert mlflow.parents(name)[SECOND]["status"] == "RUNNING"
    change(shelf, SECOND, outcome=outcome(), finished="2026-01-31T10:00:00Z")
    shelf.move(record.promote_candidate, second, outcome=outcome())
    shelf.types("tracking", "sync", "digits")
    assert mlflow.aliases(name) == {"production": second.id, "previous": first.id}
    assert mlflow.parents(name)[SECOND]["status"] == "FINISHED"
    assert mlflow.parents(name)[SECOND]["end"] == 1769853600000
    shelf.move(record.restore_previous, first)
    shelf.types("tracking", "sync", "digits")
    assert mlflow.aliases(name) == {"production": first.id}
    assert len(mlflow.versions(name)) == 2

    said = shelf.types("runs", "show", FIRST).stdout
    assert f"tracking     run {run['id']}, version 1 of {mlflow.url}, sent " in said
    assert not box_of(shelf).list_waiting()


def test_what_is_told_twice_is_there_once(shelf: Shelf, mlflow: MlflowServer) -> None:
    name, box = name_of(shelf), box_of(shelf)
    put(shelf, FIRST, outcome())
    before = []
    for _ in range(2):
        box.add(FIRST)
        assert send_waiting(box, server_of(shelf, mlflow)).sent == (FIRST,)
        before.append(sorted(mlflow.runs(name), key=lambda run: str(run["id"])))
    assert before[0] == before[1]
    assert len(before[0]) == 3
    assert len(mlflow.versions(name)) == 1
    shelf.types("tracking", "sync", "digits", "--all")
    assert len(mlflow.runs(name, deleted=True)) == 3


def test_writers_at_once_make_one_run(shelf: Shelf, mlflow: MlflowServer) -> None:
    name, writers = name_of(shelf), 4
    put(shelf, FIRST, outcome())
    report = find_report(RunFolder(shelf.store, shelf.bucket, FIRST))
    assert report is not None
    together = threading.Barrier(writers)

    def send(found: RunReport) -> str:
        together.wait()
        for _ in range(20):
            try:
                return send_run(server_of(shelf, mlflow), found, "s3://b/model", {}).id
            except MlflowRefusedError:
                # another one has deleted the copy that this one was filling: the note stays, and it is sent again
                continue
        raise AssertionError("it never ends")

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(send, [report] * writers))
    parent = mlflow.parents(name)[FIRST]
    assert sorted(mlflow.trials(name, parent["id"])) == ["0", "1"]
    assert len(mlflow.runs(name)) == 3
    assert len(mlflow.versions(name)) == 1
    assert parent["metrics"]["all/accuracy"] == 0.97


def test_one_that_is_refused_does_not_keep_up_the_others(
    shelf: Shelf, mlflow: MlflowServer
) -> None:
    box = box_of(shelf)
    put(shelf, FIRST, outcome("refused"), release=False)
    put(shelf, SECOND, outcome("failed"), release=False)
    shelf.store.write_json(shelf.bucket / report_key(FIRST), ["damaged"])
    result = send_waiting(box, server_of(shelf, mlflow))
    assert result.sent == (SECOND,)
    assert [problem.partition(":")[0] for problem in result.problems] == [FIRST]
    assert list(box.list_waiting()) == [FIRST]
    assert mlflow.parents(name_of(shelf))[SECOND]["status"] == "FAILED"
    assert mlflow.runs(name_of(shelf))
    done = shelf.types("tracking", "sync", "digits", code=1)
    assert f"{FIRST}: run.json is" in done.stderr


def test_runs_from_before_and_a_release_that_was_never_sent(
    shelf: Shelf, mlflow: MlflowServer
) -> None:
    """As when `tracking` is added to a pipeline, or the server was made anew."""
    first = put(shelf, FIRST, outcome())
    second = put(shelf, SECOND, outcome())
    shelf.put_run(THIRD, outcome=outcome("refused"), report=False)
    box = box_of(shelf)
    for keys in box.list_waiting().values():
        box.remove(keys)
    shelf.move(lambda it: record.release_first(it, first), first)
    shelf.move(lambda it: record.start_shadow(it, second), second)
    text = record.dump_release(
        record.start_shadow(
            record.release_first(record.empty_release("digits", "digits"), first), second
        )
    )
    result = send_aliases(box, server_of(shelf, mlflow), load_versions(text))
    assert not result.problems
    assert mlflow.aliases(name_of(shelf)) == {"production": first.id, "candidate": second.id}
    assert set(mlflow.parents(name_of(shelf))) == {FIRST, SECOND}
    shelf.types("tracking", "sync", "digits", "--all")
    assert set(mlflow.parents(name_of(shelf))) == {FIRST, SECOND, THIRD}


def test_a_deleted_experiment_is_named(shelf: Shelf, mlflow: MlflowServer) -> None:
    put(shelf, FIRST, outcome())
    id = MlflowClient(mlflow.url).ensure_experiment(name_of(shelf))
    mlflow.ask("experiments/delete", {"experiment_id": id})
    done = shelf.types("tracking", "sync", "digits", code=1)
    assert f"experiment `{name_of(shelf)}` of {mlflow.url} is deleted" in done.stderr
    assert list(box_of(shelf).list_waiting()) == [FIRST]
