import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.release.answers import compare_answers, read_answers


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"data": {"names": [], "ndarray": [[0.1, 0.7, 0.2], [0.9, 0.1, 0.0]]}}, (1, 0)),
        ({"data": {"tensor": {"shape": [2, 3], "values": [0.1, 0.7, 0.2, 0.9, 0.1, 0.0]}}}, (1, 0)),
        ({"predictions": [[1, 2], [2, 1]]}, (1, 0)),
        (
            {"outputs": [{"name": "o", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 2, 1]}]},
            (1, 0),
        ),
        ({"outputs": [{"name": "o", "shape": [2], "datatype": "INT64", "data": [7, 8]}]}, (7, 8)),
        (
            {
                "outputs": [
                    {"name": "o", "shape": [2, 1], "datatype": "BYTES", "data": ["cat", "dog"]}
                ]
            },
            ("cat", "dog"),
        ),
        ({"outputs": [{"shape": [1], "data": [4]}, {"shape": [1, 2], "data": [0.1, 0.9]}]}, (4,)),
        (
            {
                "predictions": [
                    {"label": 3, "scores": [0.1, 0.9]},
                    {"label": 5, "scores": [0.2, 0.8]},
                ]
            },
            (3, 5),
        ),
        ({"outputs": {"label": [3, 5], "scores": [[0.1, 0.9], [0.2, 0.8]]}}, (3, 5)),
        ({"outputs": [[0.1, 0.9], [0.8, 0.2]]}, (1, 0)),
        (
            {"outputs": [{"name": "o", "shape": [1000000000, 1], "datatype": "FP32", "data": []}]},
            (),
        ),
        ({"data": {"ndarray": [3.7]}}, (3.7,)),
        ({"data": {"ndarray": [[4.0]]}}, (4,)),
        ({"data": {"ndarray": ["cat", "dog"]}}, ("cat", "dog")),
        ({"strData": "cat"}, ("cat",)),
        ({"predictions": []}, ()),
    ],
)
def test_rows_of_each_protocol(document, expected):
    assert read_answers(body(document)) == expected
    assert (
        read_answers(
            body(document), "seldon" if {"data", "strData"} & document.keys() else _spoken(document)
        )
        == expected
    )


def _spoken(document):
    named = isinstance(document.get("outputs"), list) and isinstance(document["outputs"][0], dict)
    return "v2" if named else "tensorflow"


def test_an_answer_in_another_protocol_than_the_events_is_a_fingerprint():
    (found,) = read_answers(body({"predictions": [[1, 2]]}), "v2")
    assert found.startswith("#")


def test_what_is_unknown_is_compared_as_it_is():
    for unknown in (
        b"\xff\x00binary",
        b"{}",
        b"[1]",
        body({"data": {"tensor": {}}}),
        b"[" * 100_000,
    ):
        (fingerprint,) = read_answers(unknown)
        assert fingerprint.startswith("#")
        assert compare_answers(read_answers(unknown), read_answers(unknown)) == (1, 1)
    assert compare_answers(read_answers(b"a"), read_answers(b"b")) == (1, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "rows", "agreed"),
    [
        ((1,), (1,), 1, 1),
        ((1,), (2,), 1, 0),
        ((100,), (101,), 1, 0),
        ((1.01,), (1.02,), 1, 1),
        ((10.5,), (12.5,), 1, 0),
        ((2,), (2.04,), 1, 1),
        (("cat",), ("dog",), 1, 0),
        ((1, 2, 3), (1, 5, 3), 3, 2),
        ((1, 2), (1,), 2, 0),
        ((), (1,), 1, 0),
        ((), (), 1, 1),
        ((1,), ("1",), 1, 0),
    ],
)
def test_compared(ours, theirs, rows, agreed):
    assert compare_answers(ours, theirs) == (rows, agreed)
    assert compare_answers(theirs, ours) == (rows, agreed)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
keys = st.sampled_from(
    ["data", "predictions", "outputs", "ndarray", "tensor", "strData", "jsonData"]
)


@given(
    st.dictionaries(keys, json_values | st.dictionaries(keys, json_values, max_size=2), max_size=2)
    | json_values
)
def test_any_json_has_an_answer_that_survives_the_stream(document):
    found = read_answers(body(document))
    assert (
        json.loads(json.dumps(found, allow_nan=True)) == pytest.approx(list(found), nan_ok=True)
        or not found
    )


@given(st.binary(max_size=50))
def test_any_bytes_have_an_answer(data):
    assert isinstance(read_answers(data), tuple)
