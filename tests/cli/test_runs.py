"""`driftloop runs` beside the store of a state folder."""

import json

import pytest
from support.stored_runs import Shelf

from driftloop.contract.outcomes import RunOutcome
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

A, B, C = "digits-aaaaaaaaaaaa", "digits-bbbbbbbbbbbb", "digits-cccccccccccc"


def ended(kind, reason, hour):
    return RunOutcome(kind=kind, reason=reason, time=f"2026-01-31T{hour}:00:00Z")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Shelf:
    shelf = Shelf.open(tmp_path_factory.mktemp("runs"), s3_url)
    shelf.put_run(A, outcome=ended("released", "the first release", 10), report=False)
    shelf.put_run(
        B,
        parameters=({"rate": 0.2, "depth": 3},),
        accuracies=(0.95,),
        batches={"a.npz": "one", "b.npz": "two"},
        outcome=ended("refused", "accuracy 0.95 is below 0.96", 12),
    )
    shelf.put_run(C)
    return shelf


def test_runs_are_listed_old_and_new_ones(shelf: Shelf) -> None:
    done = shelf.types("runs", "digits")
    head, *rows = done.stdout.splitlines()
    assert head.split() == [
        "RUN",
        "STARTED",
        "TOOK",
        "TRIGGER",
        "OUTCOME",
        "RELEASE",
        "METRIC",
        "CAUSE",
    ]
    assert {row.split()[0] for row in rows} == {A, B, C}
    line = next(row for row in rows if row.startswith(B))
    assert "person" in line
    assert "refused" in line
    assert "accuracy 0.95" in line
    assert "3 runs listed" in done.stderr


def test_runs_are_filtered(shelf: Shelf) -> None:
    rows = json.loads(shelf.types("runs", "--outcome", "refused", "-o", "json").stdout)
    assert [row["run"] for row in rows] == [B]
    assert rows[0]["reason"] == "accuracy 0.95 is below 0.96"
    assert json.loads(shelf.types("runs", "other", "-o", "json").stdout) == []
    assert json.loads(shelf.types("runs", "--since", "2026-02-01", "-o", "json").stdout) == []
    one = json.loads(shelf.types("runs", "digits", "--limit", "1", "-o", "json").stdout)
    assert len(one) == 1


def test_a_run_is_shown_whole(shelf: Shelf) -> None:
    text = shelf.types("runs", "show", B).stdout
    for line in (
        "outcome      refused: accuracy 0.95 is below 0.96",
        "cause        person eve",
        "parameter    rate: 0.2",
        "metrics      candidate on all rows: accuracy 0.95",
        "trial        1. number 0 (chosen): accuracy 0.95 in 1.5 s; depth 3, rate 0.2",
        "environment  Python 3.11.9, 1 package, 4 cores",
    ):
        assert line in text.splitlines(), text
    document = json.loads(shelf.types("runs", "show", A, "-o", "json").stdout)
    assert document["phase"] == "released"
    assert document["parameters"] == {"rate": 0.1}
    assert document["result"]["reason"] == "the first release"


def test_a_difference_is_told_in_words(shelf: Shelf) -> None:
    text = shelf.types("runs", "diff", A, B).stdout.splitlines()
    assert "data         1 added: b.npz" in text
    assert "parameters   rate: 0.1 -> 0.2 (+0.1)" in text
    assert "parameters   depth: none -> 3" in text
    assert "metrics      all accuracy: 0.97 -> 0.95 (-0.02)" in text
    assert "code         alike" in text
    assert "run          outcome: released -> refused" in text
    document = json.loads(shelf.types("runs", "diff", A, B, "-o", "json").stdout)
    assert document["data"]["added"] == ["b.npz"]
    same = shelf.types("runs", "diff", A, A).stdout.splitlines()
    assert same[0] == "data         the same batches"
    assert all(line.endswith("alike") for line in same[1:])


def test_a_run_that_is_not_stored_is_an_error(shelf: Shelf) -> None:
    done = shelf.types("runs", "show", "digits-none", code=1)
    assert "no run `digits-none` is stored" in done.stderr
    assert "hint: `driftloop runs` lists them" in done.stderr
    assert "is not a time" in shelf.types("runs", "--since", "soon", code=2).stderr
