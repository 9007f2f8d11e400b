"""Columns of batches, looked at before anything is trained: those that a detector takes as categories."""

from pathlib import Path

import numpy as np
import pytest

from driftloop.contract.handovers import DetectorSettings
from driftloop.errors import StepError
from driftloop.operations.ground.arrays import read_rows
from driftloop.operations.project.columns import check_columns

CHI2 = DetectorSettings(kind="chi2")
KINDS = ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_is_read_as_numpy_reads_it(kind: str, save: object, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, (30, 2, 3)).astype(kind)
    assert callable(save)
    save(tmp_path / "a.npz", x=values, y=np.zeros(30))
    rows = [list(row) for row in read_rows("a", tmp_path / "a.npz", "x")]
    assert rows == values.reshape(30, -1).tolist()


@pytest.mark.parametrize(
    "values",
    [np.array(["a", "b"]), np.asfortranarray(np.ones((2, 2))), np.ones(2, ">f8"), np.float64(1)],
)
def test_what_only_numpy_reads_is_left_to_it(values: object, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=values)
    assert list(read_rows("a", tmp_path / "a.npz", "x")) == []


def test_measurements_are_no_categories(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(200).reshape(100, 2) % 150, y=np.zeros(100))
    batches = [("batches/a.npz", tmp_path / "a.npz")]
    check_columns(batches, "x", monitors=[CHI2])
    np.savez(tmp_path / "a.npz", x=np.stack([np.zeros(101), np.arange(101) / 8], 1))
    check_columns(batches, "x")
    with pytest.raises(
        StepError, match=r"batches/a\.npz: feature 1 of array `x` has more than 100"
    ):
        check_columns(batches, "x", monitors=[CHI2])
    text = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(text.replace(b"'descr'", b"'dxscr'"))
    with pytest.raises(StepError, match="array `x` can't be read"):
        check_columns(batches, "x", monitors=[CHI2])


def test_lists_in_a_column_are_left_to_the_fit(tmp_path: Path) -> None:
    lines = "".join(f'{{"x": [{n}], "y": 1}}\n' for n in range(200))
    (tmp_path / "a.jsonl").write_text(lines)
    check_columns([("a.jsonl", tmp_path / "a.jsonl")], "x", monitors=[CHI2])


def test_a_monitors_columns_are_of_the_features(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("fare,distance,note,y\n1,2,a,0\n")
    batches = [("a.csv", tmp_path / "a.csv")]
    fares = DetectorSettings(kind="tabular", columns=("fare", "distance"))
    check_columns(batches, "x", monitors=[fares])
    with pytest.raises(StepError, match="name `distance`, must be of `fare`, `note`"):
        check_columns(batches, "fare,note", monitors=[fares])
    misspelt = DetectorSettings(kind="tabular", columns=("Fare",))
    with pytest.raises(StepError, match="name `Fare`") as raised:
        check_columns(batches, "x", monitors=[misspelt])
    assert raised.value.hint == "did you mean `fare`?"


def test_only_a_monitors_own_columns_need_be_categories(tmp_path: Path) -> None:
    rows = "".join(f"{n / 7},{n % 3},0\n" for n in range(200))
    (tmp_path / "a.csv").write_text(f"fare,kind,y\n{rows}")
    own = DetectorSettings(kind="chi2", columns=("kind",))
    check_columns([("a.csv", tmp_path / "a.csv")], "x", monitors=[own])
    with pytest.raises(StepError, match="column `fare` has more than 100"):
        check_columns([("a.csv", tmp_path / "a.csv")], "x", monitors=[CHI2])
