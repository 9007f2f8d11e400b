"""Columns of the detectors, looked for before anything is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
GOOD = "bill,flipper,island,y\n" + "".join(f"{n},{n}.5,Dream,{n % 2}\n" for n in range(50))


def split(run: Run, folder: Path, features: str, **files: str) -> Any:
    for part in ("earlier", "recent"):
        (folder / "data" / part).mkdir(exist_ok=True)
    for name, text in files.items():
        part, stem, suffix = name.split("_")
        (folder / "data" / part / f"{stem}.{suffix}").write_text(text)
    data = ("split", "--data", folder / "data", "--out", folder / "out")
    return run(*data, "--features", features)


def test_columns_of_numbers_are_fine(run: Run, folder: Path) -> None:
    earlier = GOOD.replace("flipper", "wing")
    done = split(run, folder, "bill,flipper", recent_a_csv=GOOD, earlier_b_csv=earlier)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("features", "file", "text", "message"),
    [
        ("bil,flipper", "recent_a_csv", GOOD, "recent/a.csv has no column `bil`, which"),
        ("bill,islnd", "recent_a_csv", GOOD, "hint: did you mean `island`?"),
        (
            "bill,island",
            "recent_a_csv",
            GOOD,
            "a.csv, line 2: `island` is `Dream`, must be a number",
        ),
        ("x", "recent_a_csv", GOOD, "a.csv, line 2: `island` is `Dream`, must be a number"),
        (
            "bill",
            "recent_a_csv",
            GOOD.replace("\n7,", "\n,"),
            "a.csv, line 9: `bill` is empty, must be a number",
        ),
        ("x", "recent_a_csv", GOOD.replace(",y\n", ",Y\n"), "has no column `y` for the label"),
        ("x", "recent_a_csv", GOOD.replace(",y\n", ",Y\n"), "hint: did you mean `Y`?"),
        ("bil", "recent_a_jsonl", '{"bill": 1, "y": 0}\n' * 9, "hint: did you mean `bill`?"),
        (
            "bill",
            "recent_a_jsonl",
            '{"bill": "a", "y": 0}\n' * 9,
            "`bill` is `a`, must be a number",
        ),
        ("x", "recent_a_jsonl", '{"x": [1, null], "y": 0}\n' * 9, "line 1: `x` is empty, must"),
    ],
)
def test_a_column_that_no_detector_can_use_stops_the_run_before_training(
    run: Run, folder: Path, features: str, file: str, text: str, message: str
) -> None:
    done = split(run, folder, features, **{file: text})
    assert done.code == 1
    assert message in done.err
    assert not (folder / "out").exists()


MIXED = GOOD.replace("\n7,", "\n,").replace(",y\n", ",species\n")


def test_detectors_of_tables_take_columns_of_every_type(run: Run, folder: Path) -> None:
    mixed = ("x", "--target", "species", "--mixed")
    assert (
        "is `Dream`, must be a number" in split(run, folder, "bill,island", recent_a_csv=GOOD).err
    )
    (folder / "data/recent/a.csv").write_text(MIXED)
    data = ("split", "--data", folder / "data", "--out", folder / "out", "--features")
    assert run(*data, *mixed).code == 0
    assert "has no column `y` for the label" in run(*data, "x", "--mixed").err
    done = run(*data, "x", "--target", "specis", "--mixed")
    assert "hint: did you mean `species`?" in done.err
    done = run(*data, "bill,species", "--target", "species", "--mixed")
    assert "`data.features` names `species`, which is the target" in done.err


def test_arrays_of_other_names_or_of_text(run: Run, folder: Path) -> None:
    (folder / "data" / "recent").mkdir()
    np.savez(folder / "data/recent/a.npz", pixels=np.zeros((9, 4)), kind=np.array(["a"] * 9))
    done = split(run, folder, "pixel,kind")
    assert done.code == 1
    assert "recent/a.npz has no array `pixel,kind`, which `data.features` names" in done.err
    assert "its arrays: `pixels`, `kind`" in done.err
    assert "recent/a.npz: array `kind` is <U1, must be numbers" in split(run, folder, "kind").err
    assert "hint: did you mean `pixels`?" in split(run, folder, "pixel").err


def test_files_of_different_widths(run: Run, folder: Path) -> None:
    done = split(run, folder, "x", recent_a_csv="a,b,y\n1,2,0\n" * 1, recent_b_csv="a,y\n1,0\n")
    assert done.code == 1
    assert "recent/a.csv has 2, recent/b.csv has 1" in done.err
