"""Batches of a run that is run again: as the run saw them, or named one by one."""

from pathlib import Path

import pytest
from support.stored_runs import Shelf, make_snapshot

from driftloop.contract.runs import RunDigests, RunReport
from driftloop.errors import LocalError, StepError
from driftloop.operations.runs.run_diffs import ValueChange
from driftloop.operations.runs.run_store import open_local_runs
from driftloop.operations.traces.reproduce import (
    Reproduction,
    check_images,
    describe_reproduction,
    fetch_batches,
)
from tests.steps.conftest import DATA, s3_url

__all__ = ["s3_url"]

BATCHES = {"a.npz": "one", "deep/b.npz": "two", "c.npz": "three"}


def test_batches_are_fetched_or_named_when_they_are_others(tmp_path: Path, s3_url: str) -> None:
    shelf = Shelf.open(tmp_path, s3_url)
    for key, text in BATCHES.items():
        shelf.store.write_object(DATA / key, text.encode())
    snapshot = make_snapshot(BATCHES)
    with open_local_runs(shelf.state, {}) as place:
        fetch_batches(place, "digits", snapshot, tmp_path / "data")
        assert (tmp_path / "data" / "recent" / "deep" / "b.npz").read_text() == "two"
        assert list((tmp_path / "data" / "earlier").iterdir()) == []
        shelf.store.write_object(DATA / "a.npz", b"another")
        shelf.store.delete_object(DATA / "c.npz")
        with pytest.raises(StepError) as told:
            fetch_batches(place, "digits", snapshot, tmp_path / "again")
    lines = told.value.message.splitlines()
    assert lines[0] == "2 of 3 batches are not what the run saw:"
    assert lines[1].startswith("s3://digits/batches/a.npz has changed: it is sha256:")
    assert lines[2].startswith("s3://digits/batches/c.npz is gone, it was sha256:")


def test_an_image_that_is_not_here_is_named_with_its_step(tmp_path: Path, s3_url: str) -> None:
    shelf = Shelf.open(tmp_path, s3_url)
    report = RunReport(
        pipeline="digits", run="digits-a", digests=RunDigests(images={"train": "example.org/t:1"})
    )
    with pytest.raises(LocalError, match=r"train of digits-a ran in `example\.org/t:1`"):
        check_images(shelf.state, report)


def test_what_differs_is_told_in_words() -> None:
    metrics = (ValueChange("all accuracy", 0.97, 0.96),)
    other = Reproduction("digits-a", False, "sha256:a", "sha256:b", ("model.onnx",), metrics, ())
    assert list(describe_reproduction(other)) == [
        "other model  sha256:b, the run's is sha256:a",
        "differs      model.onnx",
        "differs      all accuracy: 0.97 -> 0.96",
    ]
    same = Reproduction("digits-a", True, "sha256:a", "sha256:a", (), (), ())
    assert list(describe_reproduction(same)) == ["same model   sha256:a", "metrics      the same"]
