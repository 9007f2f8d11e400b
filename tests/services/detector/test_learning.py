"""Profiles: what a column is, where a file does not fit, and that a value is the same number in training and in a request."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from driftloop.contract.columns import ColumnUse, read_uses
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.errors import PipelineError
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.rows.payload import RowDecoder
from driftloop.services.detector.rows.values import drop_noise

TABULAR = DetectorSettings("tabular")


def learn(
    folder: Path, features: str = "x", target: str = "y", **files: str
) -> artifact.DetectorArtifact:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text)
    return artifact.gather_reference(folder, features, TABULAR, target)


def learn_column(folder: Path, *fields: str) -> ColumnProfile:
    rows = "".join(f"{field},0\n" for field in fields)
    (column,) = learn(folder, a_csv=f"c,y\n{rows}").profile.columns
    return column


@pytest.mark.parametrize(
    ("fields", "type_", "missing", "distinct"),
    [
        (["1", "2", "", "NA", "1.5"], "number", 2, 3),
        (["0", "1", "0"], "number", 0, 2),
        (["true", "False", "TRUE", "NA"], "boolean", 1, 2),
        (["NA", "US", "US", ""], "category", 1, 2),
        (["2013-01-01T10:00:00Z", "2013-01-02", ""], "time", 1, 2),
        (["01", "1", "x"], "category", 0, 3),
        (["1_0", "1_1"], "category", 0, 2),
        ([f"N{n}" for n in range(100)], "text", 0, 100),
        (["a"] * 60 + ["b"] * 40, "category", 0, 2),
        (["", ""], "text", 2, 0),
        (["16777216", "16777217", "9007199254740991"], "number", 0, 3),
    ],
)
def test_the_type_of_a_column(
    fields: list[str], type_: str, missing: int, distinct: int, tmp_path: Path
) -> None:
    column = learn_column(tmp_path, *fields)
    assert (column.type, column.missing, column.distinct) == (type_, missing, distinct)


def test_a_column_that_mixes_numbers_and_text_says_so(tmp_path: Path) -> None:
    assert learn_column(tmp_path, "1", "2", "n/a").note == (
        "2 of 3 values are numbers, the others text: all are read as text"
    )
    assert learn_column(tmp_path, *"123456789", "€5").note == (
        "9 of 10 values are numbers, the others text: all are read as text, unless `data.columns` says `number`: then the "
        "others are missing"
    )
    assert learn_column(tmp_path, "", "").note == "no row has a value"
    assert learn_column(tmp_path, "1", "inf").note == "1 of 2 values are infinite, and missing"
    learn(tmp_path, a_jsonl='{"c": 1, "y": 0}\n{"c": "x", "y": 0}\n{"c": {}, "y": 0}\n' * 5)
    (tmp_path / "a.csv").unlink()
    found = artifact.gather_reference(tmp_path, "x", TABULAR)
    assert found.profile.columns[0].note == (
        "5 of 10 values are numbers, the others text: all are read as text; "
        "5 values are neither numbers, booleans nor text: they are missing"
    )


@pytest.mark.parametrize(
    ("use", "fields", "type_", "names", "asked", "note"),
    [
        ("category", ["8001", "8001", "9002"], "category", ("8001", "9002"), 8001, ""),
        ("category", ["08001", "08001", "9002"], "category", ("08001", "9002"), "08001", ""),
        ("category", ["1.50", "1.50", "2"], "category", ("1.5", "2"), 1.5, ""),
        ("text", ["1", "22", "22"], "text", (), 22, ""),
        ("number", ["1", "NA", "x"], "number", (), 1, "1 of 3 values are no number, and missing"),
        ("boolean", ["0", "1", "1"], "boolean", ("false", "true"), 0, ""),
        ("boolean", ["0", "no", ""], "boolean", ("false", "true"), False,
         "1 of 3 values are no boolean, and missing"),
        ("time", ["2013-01-01", "late", "2013-01-02"], "time", (), "2013-01-01",
         "1 of 3 values are no time, and missing"),
    ],
)  # fmt: skip
def test_a_column_is_what_a_person_says(
    use: ColumnUse, fields: list[str], type_: str, names: tuple[str, ...], asked: object, note: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "a.csv").write_text("c,d,y\n" + "".join(f"{field},1,0\n" for field in fields))
    found = artifact.gather_reference(tmp_path, "x", TABULAR, "y", {"c": use})
    column = found.profile.columns[0]
    assert (column.type, column.note) == (type_, note)
    assert tuple(sorted(name for name, _ in column.categories)) == names
    decoder = RowDecoder(found.profile, complete=False)
    decoded = decoder.decode_rows(
        json.dumps({"data": {"names": ["c", "d"], "ndarray": [[asked, 1]]}}).encode()
    )
    assert not decoded.faults.list_counts()
    assert any(np.array_equal(decoded.rows[0], row) for row in found.ordered)


def test_an_ignored_column_is_no_input_and_no_unknown_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("c,note,y\n1,p,0\n2,q,0\n")
    found = artifact.gather_reference(tmp_path, "x", TABULAR, "y", {"note": "ignore"})
    assert [column.name for column in found.profile.columns] == ["c"]
    decoder = RowDecoder(found.profile, complete=False)
    for names, row in ((["c", "note"], [2, "q"]), (["c"], [2]), (None, [2, "q"]), (None, [2])):
        data = {"ndarray": [row], **({"names": names} if names else {})}
        decoded = decoder.decode_rows(json.dumps({"data": data}).encode())
        assert decoded.rows.tolist() == [[2.0]]
        assert not decoded.faults.list_counts()


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        ('{"d": "category"}', r"a\.csv has no column `d`, which `data\.columns` names; its columns: `c`, `y`"),
        ('{"c": "ignore"}', r"`data\.columns` ignores all columns that `data\.features` chooses: `c`"),
        ('{"c": "time"}', r"says that `c` is a time, and no value is: the first is `p` \(a\.csv, row 1\)"),
        ('{"c": "zip"}', "`c` is `zip`, must be one of: number, category, boolean, time, text, ignore"),
        ('{"c": []}', r"`c` is `\[\]`, must be one of: number"),
        ("[]", "--columns is not a JSON object"),
    ],
)  # fmt: skip
def test_what_a_person_says_of_columns_must_fit(uses: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("c,y\np,0\nq,1\n")
    with pytest.raises(PipelineError, match=words):
        artifact.gather_reference(tmp_path, "x", TABULAR, "y", read_uses(uses))


def test_a_detector_may_look_at_some_of_the_features(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c,d,y\n1,u,7,k,0\n2,v,8,k,0\n")
    own = DetectorSettings("tabular", columns=("c", "a"))
    found = artifact.gather_reference(tmp_path, "a,b,c", own)
    assert found.profile.names == ("a", "c")
    assert found.profile.features == ("a", "b", "c")
    assert found.profile.order == ("a", "b", "c", "d")
    np.testing.assert_array_equal(found.reference, [[1, 7], [2, 8]])
    # numbers beside text that another detector looks at
    numbers = DetectorSettings("ks", columns=("a",))
    assert artifact.gather_reference(tmp_path, "x", numbers).profile.names == ("a",)
    with pytest.raises(
        artifact.ArtifactError, match=r"a\.csv: the `columns` of a monitor name `bb`"
    ):
        artifact.gather_reference(tmp_path, "x", DetectorSettings("ks", columns=("a", "bb")))
    with pytest.raises(artifact.ArtifactError, match="column `b` is of type category"):
        artifact.gather_reference(tmp_path, "x", DetectorSettings("ks", columns=("b",)))
    artifact.save_artifact(found, tmp_path / "out")
    again = artifact.load_artifact(tmp_path / "out")
    assert (again.config, again.profile) == (own, found.profile)


def test_what_marks_gaps_among_numbers_marks_them_among_texts(tmp_path: Path) -> None:
    """`NA` is a category where no number is missing so, and none in the files of somebody who writes gaps so."""
    found = learn(tmp_path, a_csv="mass,sex,y\n1,NA,0\nNA,male,0\n", b_csv="sex,mass,y\nNA,2,0\n")
    mass, sex = found.profile.columns
    assert (mass.missing, sex.missing, sex.categories) == (1, 2, (("male", 1),))
    countries = learn(tmp_path, a_csv="mass,sex,y\n1,NA,0\n,US,0\n", b_csv="mass,sex,y\n,,0\n")
    assert dict(countries.profile.columns[1].categories) == {"NA": 1, "US": 1}
    only = learn(tmp_path, a_csv="mass,sex,y\nNA,NA,0\n", b_csv="mass,sex,y\nNA,m,0\n")
    assert dict(only.profile.columns[1].categories) == {"NA": 1, "m": 1}


def test_numbers_that_two_readers_read_differently_are_equal(tmp_path: Path) -> None:
    """pandas 2 reads 29.920279999999998 as 29.92028: a column of few levels would be one of new values."""
    texts = ("17.261699999999998", "29.920279999999998", "9007199254740993")
    rows = "".join(f"{text},0\n" for text in texts)
    written = learn(tmp_path, a_csv=f"c,y\n{rows}")
    (tmp_path / "a.csv").write_text("c,y\n17.2617,0\n29.92028,0\n9007199254740991,0\n")
    again = artifact.gather_reference(tmp_path, "x", TABULAR)
    np.testing.assert_array_equal(written.reference[:2], again.reference[:2])
    assert written.reference[2] != again.reference[2], "whole numbers stay apart"


def test_files_are_joined_by_name_whatever_their_order(tmp_path: Path) -> None:
    lines = '{"y": 1, "a": 5, "b": "v"}\n{"y": 1, "a": 6}\n'
    found = learn(
        tmp_path, a_csv="a,b,y\n1,u,0\n2,u,0\n", b_csv="y,b,a\n0,v,3\n0,,4\n", c_jsonl=lines
    )
    assert found.profile.names == found.profile.order == ("a", "b")
    np.testing.assert_array_equal(
        found.reference, [[1, 0], [2, 0], [3, 1], [4, np.nan], [5, 1], [6, np.nan]]
    )


@pytest.mark.parametrize(
    ("features", "files", "message", "hint"),
    [
        (
            "x",
            {"a_csv": "a,b,y\n1,2,0\n", "b_csv": "a,B,y\n1,2,0\n"},
            "b.csv has no column `b`, which another file has",
            "did you mean `B`?",
        ),
        ("a,carier", {"a_csv": "a,carrier,y\n1,2,0\n"}, "has no column `carier`", "`carrier`"),
        ("a,y", {"a_csv": "a,y\n1,0\n"}, "names `y`, which is the target", "data.target"),
        ("x", {"a_csv": "a,b\n1,2\n"}, "has no column `y` for the label", "data.target"),
        ("x", {"a_csv": "a,y\n1,2\n3\n"}, "a.csv can't be read as rows", ""),
        ("x", {"a_csv": "a,a,y\n1,2,3\n"}, "a.csv: two columns have the same name", ""),
        ("x", {"a_jsonl": '{"x": [1, 2]}\n{"x": [1]}\n'}, "row 2: `x` is not a list of 2", ""),
        (
            "x",
            {"a_jsonl": '{"x": [1, 2]}\n', "b_csv": "x,y\n1,2\n"},
            "a.jsonl holds rows as arrays, another file does not",
            "",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_with_their_names(
    features: str, files: dict[str, str], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(artifact.ArtifactError) as refused:
        learn(tmp_path, features, **files)
    assert message in refused.value.message
    assert hint in (refused.value.hint or "")


def test_the_target_is_no_feature(tmp_path: Path) -> None:
    found = learn(tmp_path, target="late", a_csv="a,late,y\n1,0,5\n2,1,6\n")
    assert found.profile.names == ("a", "y")


def test_parquet_has_types(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "n": pyarrow.array([1, None, 3]),
            "b": [True, None, False],
            "c": pyarrow.array(["u", "v", None]).dictionary_encode(),
            "t": pyarrow.array([0, 1, None], pyarrow.timestamp("s")),
            "e": [[1.0, 2.0], None, [3.0, 4.0]],
            "y": [0, 1, 0],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    found = artifact.gather_reference(tmp_path, "x", TABULAR)
    assert [(c.name, c.type) for c in found.profile.columns] == [
        ("n", "number"),
        ("b", "boolean"),
        ("c", "category"),
        ("t", "time"),
        ("e[0]", "number"),
        ("e[1]", "number"),
    ]
    nan = np.nan
    np.testing.assert_array_equal(
        found.reference,
        [[1, 1, 0, 0, 1, 2], [nan, nan, 1, 0, nan, nan], [3, 0, nan, nan, 3, 4]],
    )
    body = {"instances": [{"e": [5, 6], "n": 7}, {"e": [5], "c": "v"}]}
    decoded = RowDecoder(found.profile, complete=False).decode_rows(json.dumps(body).encode())
    np.testing.assert_array_equal(
        decoded.rows[:, [0, 2, 4, 5]], [[7, nan, 5, 6], [nan, 1, nan, nan]]
    )
    assert decoded.faults.unreadable == {"e": 1}


def test_a_training_row_that_comes_as_a_request_is_the_same_numbers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"n": 0.1, "c": "u", "b": True, "s": f"text {n}", "t": "2026-01-01", "m": "3"}
        for n in range(60)
    ] + [{"n": None, "c": None, "b": None, "s": None, "t": None, "m": "x"}]
    lines = "".join(json.dumps({**row, "y": 0}) + "\n" for row in rows)
    found = learn(tmp_path, a_jsonl=lines)
    assert [c.type for c in found.profile.columns] == [
        "number",
        "category",
        "boolean",
        "text",
        "time",
        "category",
    ]
    body = json.dumps({"instances": rows}).encode()
    decoded = RowDecoder(found.profile, complete=False).decode_rows(body)
    np.testing.assert_array_equal(drop_noise(decoded.rows), found.reference)
    single = np.array([[0.1], [0.2]], np.float32)
    (tmp_path / "f").mkdir()
    np.savez(tmp_path / "f" / "a.npz", x=single, y=[0, 1])
    found = artifact.gather_reference(tmp_path / "f", "x", TABULAR)
    decoded = RowDecoder(found.profile, complete=False).decode_rows(b"[[0.1], [0.2]]")
    np.testing.assert_array_equal(drop_noise(decoded.rows), found.reference)


def test_a_profile_at_rest_is_the_same(tmp_path: Path) -> None:
    found = learn(tmp_path, a_csv="a,b,y\n1,u,0\n2.5,,0\n")
    artifact.save_artifact(found, tmp_path / "o")
    again = artifact.load_artifact(tmp_path / "o")
    assert again.profile == found.profile
    np.testing.assert_array_equal(again.reference, found.reference)
    assert TableProfile.read(to_json(found.profile)) == found.profile
    (tmp_path / "o" / "profile.json").unlink()
    with pytest.raises(artifact.ArtifactError, match=r"profile\.json can't be read"):
        artifact.load_artifact(tmp_path / "o")
