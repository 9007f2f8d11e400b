"""Rows held out by their hash: equal rows on one side, whatever file or type they come in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.split import count_rows, split_rows


def read(folder: Path) -> list[tuple[float, ...]]:
    found = []
    for file in sorted(folder.rglob("*.npz")):
        with np.load(file) as arrays:
            found += [
                (*map(float, x), float(y)) for x, y in zip(arrays["x"], arrays["y"], strict=True)
            ]
    return found


def test_npz_rows_stand_on_one_side(run: Callable[..., Any], batches: Path, tmp_path: Path) -> None:
    done = run("split", "--data", batches, "--out", tmp_path / "out", "--heldout", "0.3")
    assert done.code == 0, done.err
    train, heldout = read(tmp_path / "out" / "train"), read(tmp_path / "out" / "heldout")
    assert sorted(train + heldout) == sorted(read(batches))
    assert not set(train) & set(heldout)
    assert 0.2 < len(heldout) / 1000 < 0.4
    assert (tmp_path / "out" / "train" / "earlier" / "earlier.npz").exists()
    assert (tmp_path / "out" / "heldout" / "recent" / "recent.npz").exists()
    with np.load(tmp_path / "out" / "train" / "earlier" / "earlier.npz") as arrays:
        assert arrays["x"].dtype == np.float32
    assert f"{len(train)} rows to train on, {len(heldout)} held out" in done.out


def test_a_second_split_is_the_same(batches: Path, tmp_path: Path) -> None:
    rows = split_rows(batches, tmp_path / "a", 0.2)
    assert {side: count_rows(tmp_path / "a" / side) for side in rows} == rows
    split_rows(batches, tmp_path / "b", 0.2)
    for file in (tmp_path / "a").rglob("*.npz"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 30), st.text("ab", max_size=2)), min_size=40, max_size=80
    )
)
def test_csv_and_jsonl_lose_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("split")
    for part in ("earlier", "recent"):
        (folder / "data" / part).mkdir(parents=True)
    (folder / "data" / "earlier" / "a.csv").write_text(
        "n,t\n" + "".join(f"{n},x{t}\n" for n, t in rows)
    )
    (folder / "data" / "recent" / "b.csv").write_text(
        "t,n\n" + "".join(f"x{t},{n}\n" for n, t in rows)
    )
    (folder / "data" / "recent" / "c.jsonl").write_text(
        "".join(json.dumps({"n": n}) + "\n" for n, _ in rows)
    )
    if len(set(rows)) < 20:
        return  # so few different rows may all come to one side
    counts = split_rows(folder / "data", folder / "out", 0.5)
    assert sum(counts.values()) == 3 * len(rows)
    assert {side: count_rows(folder / "out" / side) for side in counts} == counts

    def csv_rows(side: str, name: str) -> list[tuple[str, str]]:
        file = folder / "out" / side / name
        if not file.exists():
            return []
        header, *lines = [line.split(",") for line in file.read_text().splitlines()]
        return [(line[header.index("n")], line[header.index("t")]) for line in lines]

    sides = {
        side: set(csv_rows(side, "earlier/a.csv") + csv_rows(side, "recent/b.csv"))
        for side in ("train", "heldout")
    }
    assert not sides["train"] & sides["heldout"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("recent/a.parquet", b"PAR1", "a.parquet is not a .parquet file"),
        ("recent/a.txt", b"1", "a.txt is not a file of rows"),
        ("recent/a.npz", b"not a zip", "a.npz is not an .npz file of plain arrays"),
        ("recent/a.csv", b"a,b\n1\n", "a.csv, line 2: 1 fields, the header has 2"),
        ("recent/a.csv", b"", "a.csv has no header line"),
        ("recent/a.csv", b"a,a\n1,2\n", "two columns have the same name"),
        ("recent/a.csv", b"a\n\xff\xfe\n", "recent/a.csv can't be read"),
        ("recent/a.jsonl", b'{"a": 1}\n{"a"\n', "a.jsonl, line 2 is not JSON"),
        ("recent/a.jsonl", b"[1]\n", "a.jsonl, line 1 is not a JSON object"),
        ("a.csv", b"a\n1\n", "a.csv is neither in earlier/ nor in recent/"),
        ("recent/a.csv", b"a\n1\n", "contains 0 of 1 rows"),
    ],
)
def test_what_can_not_be_split(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(TrainerError) as raised:
        split_rows(tmp_path / "data", tmp_path / "out", 0.5)
    assert error in raised.value.message


def test_rows_of_parquet_stand_on_one_side(tmp_path: Path) -> None:
    (tmp_path / "data" / "recent").mkdir(parents=True)
    table = pyarrow.table({"n": range(200), "t": [f"x{n % 7}" for n in range(200)]})
    for name, rows in (("a", table), ("b", table.select(["t", "n"]))):
        parquet.write_table(rows, tmp_path / "data" / "recent" / f"{name}.parquet")
    counts = split_rows(tmp_path / "data", tmp_path / "out", 0.3)
    assert sum(counts.values()) == 400
    assert {side: count_rows(tmp_path / "out" / side) for side in counts} == counts
    kept = {
        (side, name): parquet.read_table(tmp_path / "out" / side / "recent" / f"{name}.parquet")
        for side in counts
        for name in "ab"
    }
    for side in counts:
        assert kept[side, "a"].schema == table.schema
        assert kept[side, "a"]["n"] == kept[side, "b"]["n"]


def test_arrays_that_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "data" / "recent").mkdir(parents=True)
    file = tmp_path / "data" / "recent" / "a.npz"
    np.savez(file, x=np.zeros((3, 2)), y=np.zeros(2))
    with pytest.raises(TrainerError, match=r"their shapes are: x \(3, 2\), y \(2,\)"):
        split_rows(tmp_path / "data", tmp_path / "out", 0.5)
    np.savez(file, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TrainerError, match=r"not an \.npz file of plain arrays"):
        split_rows(tmp_path / "data", tmp_path / "out", 0.5)
    with pytest.raises(TrainerError, match="contains no data"):
        split_rows(tmp_path / "out", tmp_path / "other", 0.5)
