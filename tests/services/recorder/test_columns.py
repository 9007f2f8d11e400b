"""Bodies as columns: matched by the profile, with their own values, and said when they don't fit."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.profiles import ColumnProfile, ColumnType, TableProfile
from driftloop.services.recorder.columns import (
    NO_NAMES,
    NOT_ROWS,
    UNNAMED,
    WIDTHS,
    Concealment,
    RequestReader,
    derive_key,
    read_answer,
)


def column(name: str, type: ColumnType) -> ColumnProfile:
    return ColumnProfile(name=name, type=type, rows=1, missing=0, distinct=1)


TABLE = TableProfile(
    columns=(
        column("fare", "number"),
        column("member", "boolean"),
        column("carrier", "category"),
        column("time", "time"),
    ),
    order=("fare", "member", "carrier", "time"),
)
ARRAY = TableProfile(
    columns=tuple(column(f"x[{n}]", "number") for n in range(3)), order=("x",), arrays=(("x", 3),)
)
ROW = [1.5, True, "UA", "2026-11-30T08:00:00Z"]
READ = {
    "fare": [1.5],
    "member": [True],
    "carrier": ["UA"],
    "request.time": ["2026-11-30T08:00:00Z"],
}


def seldon(rows: Any, names: list[str] | None = None) -> bytes:
    return json.dumps({"data": {"names": names or [], "ndarray": rows}}).encode()


def shuffled() -> bytes:
    return seldon([[*ROW[::-1]]], ["time", "carrier", "member", "fare"])


def instances() -> bytes:
    return json.dumps({"instances": [dict(zip(TABLE.order, ROW, strict=True))]}).encode()


def tensors() -> bytes:
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
        for name, value in zip(TABLE.order, ROW, strict=True)
    ]
    return json.dumps({"inputs": inputs}).encode()


@pytest.mark.parametrize("body", [seldon([ROW]), shuffled(), instances(), tensors()])
def test_columns_are_matched_by_name_and_by_position_without_names(body: bytes) -> None:
    read = RequestReader([TABLE]).read_body(body)
    assert (read.count, read.columns, read.problem) == (1, READ, "")


def test_the_numbers_of_an_array_are_one_column_of_lists() -> None:
    reader = RequestReader([ARRAY])
    assert reader.read_body(seldon([[1, 2, 3], [4, 5, 6.5]])).columns == {
        "x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]
    }
    assert "unreadable" in reader.read_body(seldon([[1, 2]])).problem


def test_what_does_not_fit_is_said_and_missing() -> None:
    read = RequestReader([TABLE]).read_body(
        seldon([["high", 1, 7, None]], ["fare", "member", "carrier", "time"])
    )
    assert read.columns == {
        "fare": [None],
        "member": [True],
        "carrier": ["7"],
        "request.time": [None],
    }
    assert read.problem == "unreadable values of `fare`"
    extra = RequestReader([TABLE]).read_body(seldon([[1, 2]], ["fare", "odd"]))
    assert extra.columns == {"fare": [1.0]}
    assert extra.problem == "columns that the model does not have: `odd`"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"not json", NOT_ROWS),
        (b"[]", NOT_ROWS),
        (b"\xff\xfe", NOT_ROWS),
        (seldon([[1, 2]], ["odd", "other"]), NO_NAMES),
        (seldon([[1, 2]]), UNNAMED),
        (seldon([[1], [1, 2]]), WIDTHS),
    ],
)
def test_a_body_that_is_no_rows_of_the_model_has_none(body: bytes, problem: str) -> None:
    read = RequestReader([TABLE]).read_body(body)
    assert (read.count, read.problem) == (0, problem)


def test_without_a_profile_columns_have_the_names_of_the_request() -> None:
    reader = RequestReader()
    assert reader.read_body(seldon([[1, "a"]], ["n", "t"])).columns == {"n": [1], "t": ["a"]}
    assert reader.read_body(seldon([[1, 2]])).columns == {"x": [[1, 2]]}
    assert reader.read_body(seldon([[1], [2]])).columns == {"x": [1, 2]}


KEYS = [
    "data",
    "names",
    "ndarray",
    "tensor",
    "shape",
    "values",
    "instances",
    "inputs",
    "outputs",
    "name",
    "fare",
    "jsonData",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.lists(VALUES, max_size=3).map(seldon),
    st.lists(st.lists(VALUES, min_size=4, max_size=4), max_size=3).map(seldon),
)


@settings(deadline=None)
@given(BODIES)
def test_any_body_is_read_or_said(body: bytes) -> None:
    for reader in (RequestReader(), RequestReader([TABLE]), RequestReader([ARRAY])):
        read = reader.read_body(body)
        assert read.count or read.problem
        assert all(len(values) == read.count for values in read.columns.values())
    answer = read_answer(body)
    assert answer.count or answer.problem
    assert all(len(values) == answer.count for values in answer.columns.values())


def test_answers_are_named_or_one_column() -> None:
    assert read_answer(seldon([[0.2, 0.8]])).columns == {"answer": [[0.2, 0.8]]}
    assert read_answer(seldon([[0.2, 0.8]], ["t:0", "t:1"])).columns == {"answer": [[0.2, 0.8]]}
    assert read_answer(seldon([[0.2, 0.8]], ["no", "yes"])).columns == {
        "answer.no": [0.2],
        "answer.yes": [0.8],
    }
    assert read_answer(seldon([3])).columns == {"answer": [3]}
    assert read_answer(b"{}").problem == NOT_ROWS


def test_columns_are_dropped_and_hashed_by_a_key() -> None:
    key = derive_key("secret", "n", "digits")
    hidden = Concealment(frozenset({"name"}), frozenset({"email"}), key)
    columns = {"name": ["a"], "email": ["x@y", None], "answer.email": ["x@y", None], "n": [1, 2]}
    concealed = hidden.conceal(columns)
    assert concealed.keys() == {"email", "answer.email", "n"}
    assert concealed["email"] == concealed["answer.email"] != ["x@y", None]
    assert concealed["email"][1] is None
    other = Concealment(frozenset(), frozenset({"email"}), derive_key("secret", "n", "other"))
    assert other.conceal(columns)["email"] != concealed["email"]
