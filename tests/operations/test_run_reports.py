"""run.json: composed of a Workflow and of the files of a run, of older versions too."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stored_runs import LOG, Shelf, make_snapshot, make_workflow, metadata

from driftloop.contract.documents import to_json
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.runs import RunAlarm, RunReport, RunTrial, read_trigger
from driftloop.contract.trees import report_key, run_key
from driftloop.operations.runs.run_reports import (
    KnownRun,
    RunFolder,
    begin_report,
    compose_report,
    find_report,
    rank_trials,
    read_metadata,
    read_report,
    write_report,
)
from driftloop.operations.runs.run_workflows import is_idle_look
from driftloop.services.trainer.record import write_metadata
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

RUN = "digits-4f0c1d2e3a5b"
RELEASED = RunOutcome(kind="released", reason="it is production", time="2026-01-31T10:00:00Z")
ALARM = RunAlarm(event="42", monitor="drift", release="r1a2b3c4d", first=3, last=4)


@pytest.fixture
def shelf(tmp_path: Path, s3_url: str) -> Shelf:
    return Shelf.open(tmp_path, s3_url)


def folder(shelf: Shelf, run: str = RUN) -> RunFolder:
    return RunFolder(shelf.store, shelf.bucket, run)


def searched(shelf: Shelf) -> RunReport:
    """A run with three trials, of which one failed, composed as its last step does."""
    shelf.put_run(
        RUN,
        parameters=({"rate": 0.0}, {"rate": 0.1}),
        accuracies=(0.91, 0.97),
        chosen=1,
        report=False,
    )
    known = KnownRun(pipeline="digits", namespace="digits", alarm=ALARM, outcome=RELEASED)
    workflow = make_workflow(RUN, {0: 0.91, 1: 0.97, 2: None}, chosen=1)
    return compose_report(folder(shelf), known, workflow, None)


def test_everything_of_a_run_is_in_one_file(shelf: Shelf) -> None:
    report = searched(shelf)
    assert (report.trigger, report.cause) == ("alarm", "alarm 42: hue 1 -> 2")
    assert (report.started, report.finished) == ("2026-01-31T09:10:00Z", RELEASED.time)
    assert report.alarm == ALARM
    assert [(t.rank, t.trial, t.chosen) for t in report.trials] == [
        (1, "1", True), (2, "0", False), (None, "2", False),
    ]  # fmt: skip
    assert report.trials[2].failed == "it diverged"
    assert report.trials[0].seconds == 1.5
    assert report.parameters == {"rate": 0.1}
    assert (report.metric, report.goal, report.heldout) == ("accuracy", "maximize", 0.2)
    assert report.metrics is not None
    assert report.metrics.candidate["recent"] == {"accuracy": 0.97}
    assert report.data is not None
    assert (report.data.batches, report.data.recent) == (1, 1)
    assert report.environment is not None
    assert report.environment["python"] == "3.11.9"
    assert report.digests.recipe == "sha256:" + "b" * 64
    assert report.digests.images == {
        "snapshot": "driftloop:1", "split": "trainer:1", "train": "trainer:1", "pick": "driftloop:1",
    }  # fmt: skip
    assert [step.name for step in report.steps] == [
        "claim", "snapshot", "train(0:x)", "train(1:x)", "train(2:x)", "pick",
    ]  # fmt: skip
    assert report.notes == ()
    assert RunReport.read(json.loads(json.dumps(to_json(report)))) == report


def test_a_run_of_an_older_version_is_composed_of_its_files(shelf: Shelf) -> None:
    shelf.put_run(RUN, outcome=RELEASED, report=False)
    report = read_report(folder(shelf), KnownRun(pipeline="digits"))
    assert report is not None
    assert report.outcome == RELEASED
    assert report.trials[0].chosen
    assert report.trials[0].rank == 1
    assert (report.started, report.trigger) == ("2026-01-31T09:30:00Z", "unknown")
    assert report.digests.data == make_snapshot({"a.npz": "one"}).data_digest
    assert report.digests.model is not None
    assert report.release is not None
    assert not shelf.store.has_object(shelf.bucket / report_key(RUN))


def test_nothing_of_a_run_is_none(shelf: Shelf) -> None:
    assert read_report(folder(shelf), KnownRun(pipeline="digits")) is None


def test_the_rollout_adds_to_what_the_training_wrote(shelf: Shelf) -> None:
    first = begin_report(
        folder(shelf),
        KnownRun(pipeline="digits", cause="schedule"),
        commit="a" * 40,
        production="r1a2b3c4d",
        recipe="sha256:" + "b" * 64,
        snapshot=make_snapshot({"a.npz": "one"}),
    )
    assert first.outcome is None
    trained = replace(
        searched(shelf), outcome=None, commit=first.commit, production=first.production
    )
    write_report(folder(shelf), trained)
    rollout = {
        "metadata": {"name": "digits-release-r5", "namespace": "digits"},
        "spec": {},
        "status": {
            "nodes": {
                "x": {
                    "type": "Pod", "name": "x", "displayName": "shadow", "templateName": "shadow",
                    "phase": "Succeeded", "startedAt": "2026-01-31T11:00:00Z",
                }
            }
        },
    }  # fmt: skip
    known = KnownRun(pipeline="digits", outcome=RELEASED)
    report = compose_report(folder(shelf), known, rollout, find_report(folder(shelf)))
    assert report.steps == (*trained.steps, report.steps[-1])
    assert report.steps[-1].workflow == "digits-release-r5"
    assert report.trials == trained.trials
    assert report.digests == trained.digests
    assert (report.started, report.commit) == (trained.started, "a" * 40)
    assert report.environment == trained.environment


def test_a_file_that_cant_be_read_is_a_note(shelf: Shelf) -> None:
    shelf.put_run(RUN, outcome=RELEASED, report=False)
    shelf.store.write_object(shelf.bucket / run_key(RUN, "snapshot", "snapshot.json"), b"{")
    shelf.store.write_object(shelf.bucket / report_key(RUN), b"[]")
    report = read_report(folder(shelf), KnownRun(pipeline="digits"))
    assert report is not None
    assert report.data is None
    assert report.outcome == RELEASED
    assert "run.json can't be read: run.json is `[]`, must be a JSON object" in report.notes[0]
    assert "snapshot.json" in report.notes[1]


def test_a_look_for_new_data_that_found_none_is_no_run() -> None:
    looked = {"spec": {"entrypoint": "on-new-data"}, "status": {"nodes": {}}}
    assert is_idle_look(looked)
    looked["status"]["nodes"] = {"x": {"type": "DAG", "templateName": "main"}}
    assert not is_idle_look(looked)
    assert not is_idle_look({"spec": {}, "status": {}})


@pytest.mark.parametrize(
    ("cause", "trigger"),
    [
        ("alarm 42: hue 1 -> 2", "alarm"),
        ("person eve (forced): why", "person"),
        ("schedule", "schedule"),
        ("new data", "new-data"),
        ("webhook 7", "webhook"),
        ("", "unknown"),
    ],
)
def test_the_cause_tells_the_trigger(cause: str, trigger: str) -> None:
    assert read_trigger(cause) == trigger


@given(
    st.lists(st.one_of(st.none(), st.sampled_from([0.1, 0.5, 0.9])), max_size=6),
    st.sampled_from(["maximize", "minimize"]),
)
def test_the_ranking_is_that_of_the_metric_and_loses_no_trial(
    values: list[float | None], goal: str
) -> None:
    trials = [
        RunTrial(trial=str(number), metrics=None if value is None else {"accuracy": value})
        for number, value in enumerate(values)
    ]
    ranked = rank_trials(trials, "accuracy", goal)
    assert sorted(trial.trial for trial in ranked) == sorted(trial.trial for trial in trials)
    measured = [trial for trial in ranked if trial.rank is not None]
    assert [trial.rank for trial in measured] == list(range(1, len(measured) + 1))
    numbers = [(trial.metrics or {})["accuracy"] for trial in measured]
    assert numbers == sorted(numbers, reverse=goal == "maximize")
    assert all(trial.metrics is None for trial in ranked[len(measured) :])


printed = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=120)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.lists(st.dictionaries(st.text(max_size=8), printed, max_size=3), max_size=4))
def test_what_a_function_printed_is_cut_out_of_its_metadata_whatever_it_is(lines) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "metadata.yaml"
        write_metadata(file, metadata(0, {"rate": 0.1}, 0.9) | {"log": lines})
        read = read_metadata(file.read_bytes(), "metadata.yaml")
    expected = metadata(0, {"rate": 0.1}, 0.9)
    assert read == {key: value for key, value in expected.items() if key != "log"}
    assert LOG
