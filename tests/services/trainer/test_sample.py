"""rows.json: held-out rows as a caller would send them."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from driftloop.services.trainer import sample
from driftloop.services.trainer.sample import write_rows


@pytest.fixture
def heldout(tmp_path: Path) -> Path:
    for part in ("recent", "earlier"):
        (tmp_path / part).mkdir()
    return tmp_path


def written(heldout: Path, limit: int = 10) -> dict[str, Any]:
    file = heldout / "rows.json"
    write_rows(heldout, file, limit)
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_a_table_has_names_numbers_and_gaps(heldout: Path) -> None:
    (heldout / "recent" / "a.csv").write_text("age,town,y\n31,Ulm,1\n,Jena,0\n")
    document = written(heldout)
    assert document["names"] == ["age", "town"]
    assert document["rows"] == [
        {"features": [31, "Ulm"], "label": 1, "recent": True},
        {"features": [None, "Jena"], "label": 0, "recent": True},
    ]
    assert document["note"] == ""


def test_gaps_are_gaps_however_a_file_marks_them(heldout: Path) -> None:
    """A column of numbers is one also where the rows that are asked have none, and `NA` is no text in it."""
    text = "gust,sex,night,code,y\n" + "NA,NA,True,NA,1\n2.5,male,NA,7,NA\n" * 3
    (heldout / "recent" / "a.csv").write_text(text)
    rows = sorted(written(heldout)["rows"], key=str)
    assert [row["features"] for row in rows] == [[2.5, "male", None, 7]] * 3 + [
        [None, None, True, None]
    ] * 3
    assert [row["label"] for row in rows] == [None] * 3 + [1] * 3
    (one,) = written(heldout, 1)["rows"]
    assert one["features"] == [None, None, True, None]


def test_numbers_that_a_person_calls_categories_keep_their_form(heldout: Path) -> None:
    (heldout / "recent" / "a.csv").write_text("zip,flight,y\n08001,12,1\n80333,,0\n")
    file = heldout / "rows.json"
    document = write_rows(heldout, file, 9, uses={"zip": "category", "flight": "category"})
    assert sorted(row.features for row in document.rows) == [["08001", 12], ["80333", None]]
    assert sorted(row["features"] for row in written(heldout)["rows"]) == [
        [8001, 12],
        [80333, None],
    ]


def test_a_mark_of_gaps_is_a_text_where_no_number_is_missing_so(heldout: Path) -> None:
    (heldout / "recent" / "a.csv").write_text("country,size,y\nNA,1,0\nUS,2,1\n")
    assert sorted(row["features"] for row in written(heldout)["rows"]) == [["NA", 1], ["US", 2]]
    (heldout / "earlier" / "b.csv").write_text("country,size,y\nUS,NA,0\nUS,2,1\n")
    assert [None, 1] in [row["features"] for row in written(heldout)["rows"]]


def test_a_column_that_the_first_row_lacks_is_no_less_a_column(heldout: Path) -> None:
    (heldout / "recent" / "a.jsonl").write_text('{"age": 31, "y": 1}\n{"age": 4, "town": "Ulm"}\n')
    document = written(heldout)
    assert document["names"] == ["age", "town"]
    assert [row["features"] for row in document["rows"]] == [[31, None], [4, "Ulm"]]


def test_arrays_have_no_names(heldout: Path) -> None:
    np.savez(heldout / "recent" / "a.npz", x=np.array([[1.5, np.nan]]), y=np.array([3]))
    (heldout / "earlier" / "b.jsonl").write_text('{"x": [2, 3], "y": 4}\n')
    document = written(heldout)
    assert document["names"] is None
    assert document["rows"] == [
        {"features": [1.5, None], "label": 3, "recent": True},
        {"features": [2, 3], "label": 4, "recent": False},
    ]


def test_the_target_need_not_be_called_y(heldout: Path, tmp_path: Path) -> None:
    (heldout / "recent" / "a.csv").write_text("age,late\n31,true\n")
    write_rows(heldout, tmp_path / "rows.json", 5, target="late")
    document = json.loads((tmp_path / "rows.json").read_text())
    assert (document["names"], document["rows"][0]["label"]) == (["age"], "true")


def test_parquet_has_types(heldout: Path, tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "age": [31, None, 4],
            "born": [datetime.date(2026, 1, 2), None, None],
            "y": [True, False, True],
        }
    )
    parquet.write_table(table, heldout / "recent" / "a.parquet")
    document = written(heldout)
    assert document["names"] == ["age", "born"]
    rows = [(row["features"], row["label"]) for row in document["rows"]]
    assert sorted(rows, key=str) == [
        ([31, "2026-01-02"], True),
        ([4, None], True),
        ([None, None], False),
    ]
    write_rows(heldout, tmp_path / "rows.json", 2, again=tmp_path / "again")
    assert parquet.read_table(tmp_path / "again/recent/a.parquet") == table.take([0, 2])


def test_recent_rows_come_first_and_are_spread(heldout: Path) -> None:
    np.savez(heldout / "earlier" / "a.npz", x=np.zeros((50, 1)))
    np.savez(heldout / "recent" / "b.npz", x=np.arange(9.0)[:, None])
    values = [row["features"][0] for row in written(heldout, 3)["rows"]]
    assert sorted(values) == [0.0, 3.0, 6.0]
    recent = [row["recent"] for row in written(heldout, 12)["rows"]]
    assert recent == [True] * 9 + [False] * 3


def test_those_that_are_asked_before_time_runs_out_are_like_all(heldout: Path) -> None:
    np.savez(heldout / "recent" / "sorted.npz", x=np.zeros((300, 1)), y=np.repeat([0, 1, 2], 100))
    np.savez(heldout / "earlier" / "old.npz", x=np.zeros((60, 1)), y=np.full(60, 9))
    rows = written(heldout, 400)["rows"]
    labels = [row["label"] for row in rows]
    assert labels[300:] == [9] * 60
    first = labels[:60]
    assert min(first.count(label) for label in (0, 1, 2)) > 8
    assert rows == written(heldout, 400)["rows"], "the same order each time"


def test_files_of_which_one_has_all_columns_of_the_other_are_asked_with_those_of_both(
    heldout: Path,
) -> None:
    """Labelled traffic has the columns of requests in an order of its own, and none that is dropped."""
    (heldout / "recent" / "traffic.csv").write_text("b,a,y\n2,1,0\n")
    (heldout / "earlier" / "old.csv").write_text("a,health,b,y\n3,no,4,1\n")
    (heldout / "earlier" / "wide.csv").write_text("a,b,c,d,y\n5,6,7,8,1\n")
    (heldout / "earlier" / "without.csv").write_text("a,c,y\n9,9,1\n")
    document = written(heldout)
    assert document["names"] == ["b", "a"]
    rows = [(row["features"], row["label"], row["recent"]) for row in document["rows"]]
    assert rows[0] == ([2, 1], 0, True)
    assert sorted(rows[1:]) == [([4, 3], 1, False), ([6, 5], 1, False)]
    assert document["note"] == "without.csv has other columns than the files before"


def test_a_file_of_which_no_row_is_taken_takes_no_column_away(heldout: Path) -> None:
    (heldout / "recent" / "a.csv").write_text("a,b\n1,2\n3,4\n")
    (heldout / "recent" / "b.csv").write_text("a,b\n5,6\n")
    (heldout / "recent" / "c.csv").write_text("a\n7\n")
    document = written(heldout, 2)
    assert document["names"] == ["a", "b"]
    assert sorted(row["features"] for row in document["rows"]) == [[1, 2], [5, 6]]


def test_what_is_left_out_is_noted(heldout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(heldout / "recent" / "a.npz", left=np.zeros((2, 1)), right=np.zeros((2, 1)))
    (heldout / "recent" / "b.csv").write_text("a\n1\n2\n")
    (heldout / "recent" / "c.csv").write_text("b\n1\n")
    document = written(heldout)
    assert len(document["rows"]) == 2
    assert "a.npz: the arrays are left, right, none is named `x`" in document["note"]
    assert "c.csv has other columns than the files before" in document["note"]
    monkeypatch.setattr(sample, "LARGEST", 60)
    assert "1 of 2 rows fit into" in written(heldout)["note"]
