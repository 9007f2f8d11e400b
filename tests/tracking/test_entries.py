"""What MLflow is told of a run, whatever its names and values are."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.outcomes import OUTCOME_KINDS, OutcomeKind, RunOutcome
from driftloop.contract.records import Evaluation, Rehearsal
from driftloop.contract.runs import RunDigests, RunReport, RunTrial
from driftloop.tracking.entries import describe_run, describe_trials, is_tracked

TIME = "2026-01-31T09:00:00Z"
REPORT = RunReport(
    pipeline="digits", run="digits-a", digests=RunDigests(model="sha256:1"), started=TIME
)
NAME = re.compile(r"[A-Za-z0-9_\-. ]+(/[A-Za-z0-9_\-. ]+)*")
"""What every version of MLflow takes as the name of a parameter or metric."""

values = st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.lists(st.integers()))
numbers = st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.dictionaries(st.text(), values), numbers, st.text(), st.sampled_from(OUTCOME_KINDS))
def test_names_and_values_are_what_mlflow_takes(
    parameters: dict[str, object], metrics: dict[str, float], text: str, kind: OutcomeKind
) -> None:
    outcome = RunOutcome(kind=kind, reason=text, time=TIME)
    trials = (
        RunTrial(trial="0", chosen=True, parameters=parameters, metrics=metrics, seconds=1.5),
        RunTrial(trial="1", failed=text or "it failed"),
    )
    report = replace(
        REPORT,
        cause=text,
        outcome=outcome,
        parameters=parameters,
        trials=trials,
        metrics=Evaluation({"all": metrics, text: metrics}, {"all": metrics}),
        rehearsal=Rehearsal(passed=True, agreement=0.5),
    )
    for entry in (describe_run(report), *describe_trials(report)):
        for name in (*entry.params, *entry.metrics):
            assert NAME.fullmatch(name), name
            assert not {".", ".."} & set(name.split("/")), name
            assert len(name) <= 250
        assert all(0 < len(value) <= 500 for value in entry.tags.values())
        assert all(len(value) <= 500 for value in entry.params.values())
        assert entry.status in ("FINISHED", "FAILED", "KILLED")


def test_a_run_that_goes_on_and_one_that_never_began() -> None:
    entry = describe_run(REPORT)
    assert (entry.status, entry.started, entry.ended) == ("RUNNING", 1769850000000, None)
    assert entry.tags["driftloop.run"] == "digits-a"
    assert is_tracked(REPORT)
    busy = RunOutcome(kind="not-started", reason="another run is on", time=TIME, obstacle="busy")
    assert not is_tracked(replace(REPORT, outcome=busy))


def test_metrics_say_whose_and_of_which_rows() -> None:
    measured = Evaluation(
        {"all": {"accuracy": 0.9}, "slice region=a/b": {"f1": 0.5}},
        {"all": {"accuracy": 0.8}},
        {"all": 10},
    )
    trial = RunTrial(trial="0", chosen=True, metrics={"loss": 0.1})
    report = replace(REPORT, metrics=measured, rows={"all": 10}, trials=(trial,))
    assert describe_run(report).metrics == {
        "all/accuracy": 0.9,
        "slice region_a_b/f1": 0.5,
        "production/all/accuracy": 0.8,
        "training/loss": 0.1,
        "rows/all": 10.0,
    }
