"""Rows out of payloads: each protocol's shapes, and what is not usable is counted, never lost, never an exception."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.services.detector.payload import decode_rows

GOOD = {
    "seldon ndarray": {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3, 4]]}},
    "seldon tensor": {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
    "seldon jsonData": {"jsonData": {"instances": [[1, 2], [3, 4]]}},
    "tensorflow rows": {"instances": [[1, 2], [3, 4]]},
    "tensorflow answer": {"predictions": [[1, 2], [3, 4]]},
    "v2 one tensor": {
        "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    },
    "v2 nested data": {
        "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}]
    },
    "v2 a tensor a column": {
        "outputs": [
            {"name": "a", "shape": [2, 1], "datatype": "FP32", "data": [1, 3]},
            {"name": "b", "shape": [2], "datatype": "INT64", "data": [2, 4]},
        ]
    },
    "tensorflow columns": {"inputs": [[1, 2], [3, 4]]},
    "tensorflow named columns": {"inputs": {"a": [1, 3], "b": [[2], [4]]}},
    "tensorflow rows with names": {"instances": [{"a": 1, "b": [2]}, {"a": 3, "b": [4]}]},
    "v2 images": {
        "inputs": [{"name": "x", "shape": [2, 1, 2], "datatype": "UINT8", "data": [1, 2, 3, 4]}]
    },
    "bare": [[1, 2], [3, 4]],
}


@pytest.mark.parametrize("payload", GOOD.values(), ids=GOOD.keys())
def test_every_protocol_gives_the_same_rows(payload: object) -> None:
    found = decode_rows(json.dumps(payload).encode(), 2)
    assert found.rows.tolist() == [[1, 2], [3, 4]]
    assert found.rows.dtype == np.float32
    assert found.rejected == 0


@pytest.mark.parametrize("name", [name for name in GOOD if name != "bare"])
def test_the_protocol_of_an_event_decides_how_it_is_read(name: str) -> None:
    body = json.dumps(GOOD[name]).encode()
    own = name.partition(" ")[0]
    for protocol in ("seldon", "tensorflow", "v2"):
        # jsonData is whatever the model's class understands
        fits = protocol == own
        assert len(decode_rows(body, 2, protocol).rows) == (2 if fits else 0), protocol
    assert len(decode_rows(body, 2, "kfserving").rows) == (2 if own == "v2" else 0)
    assert len(decode_rows(body, 2, "one of tomorrow").rows) == 2


def test_images_are_flattened_and_one_row_may_be_bare() -> None:
    image = np.arange(64).reshape(1, 8, 8)
    assert decode_rows(
        json.dumps({"data": {"ndarray": image.tolist()}}).encode(), 64
    ).rows.tolist() == [list(range(64))]
    assert decode_rows(b'{"data": {"ndarray": [1, 2, 3]}}', 3).rows.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("body", "rows", "rejected"),
    [
        (b'{"data": {"ndarray": [[1, 2], [3], [5, 6]]}}', [[1, 2], [5, 6]], 1),
        (b'{"data": {"ndarray": [[1, 2], [3, "x"], [5, null]]}}', [[1, 2]], 2),
        (b'{"data": {"ndarray": [[1, NaN], [3, 4], [Infinity, 0]]}}', [[3, 4]], 2),
        (b'{"data": {"ndarray": [[1, 1e300], [3, 4]]}}', [[3, 4]], 1),
        (b'{"data": {"ndarray": [[1, 2, 3]]}}', [], 1),
        (b'{"data": {"ndarray": [["1", "2"]]}}', [], 1),
        (b'{"data": {"ndarray": []}}', [], 1),
        (b'{"data": {"tensor": {"shape": [3, 2], "values": [1, 2]}}}', [], 1),
        (b'{"inputs": [{"name": "x", "shape": [9, 2], "data": [1, 2]}]}', [], 1),
        (
            b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}',
            [],
            1,
        ),
        (b'{"inputs": [{"name": "x", "shape": [-2, -1], "data": [1, 2]}]}', [], 1),
        (b'{"inputs": [{"name": "x", "shape": [1e999], "data": [1, 2]}]}', [], 1),
        (b'{"inputs": [{"name": "x", "shape": [99999999999999999999], "data": [1, 2]}]}', [], 1),
        (
            b'{"inputs": [{"name": "x", "shape": [' + b"9," * 300_000 + b'1], "data": [1, 2]}]}',
            [],
            1,
        ),
        (b'{"inputs": [{"name": "x", "shape": [0, 2], "data": []}]}', [], 1),
        (b'{"inputs": [{"shape": [1, 1], "data": [1]}, {"shape": [2, 1], "data": [1, 2]}]}', [], 1),
        (b'{"inputs": {"a": [1, 2], "b": [1]}}', [], 1),
        (b'{"inputs": {}}', [], 1),
        (b'{"instances": [{"a": 1, "b": 2}, {"a": 1}]}', [], 1),
        (b'{"instances": [{"b64": "aGVsbG8="}]}', [], 1),
        (b'{"instances": 5}', [], 1),
        (b'{"strData": "hello"}', [], 1),
        (b'"text"', [], 1),
        (b"7", [], 1),
        (b"null", [], 1),
        (b"", [], 1),
        (b"\xff\xfe\x00", [], 1),
        (b"[" * 100_000, [], 1),
    ],
)
def test_what_can_not_be_used_is_counted(
    body: bytes, rows: list[list[float]], rejected: int
) -> None:
    found = decode_rows(body, 2)
    assert found.rows.tolist() == rows
    assert found.rejected == rejected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "ndarray",
                    "tensor",
                    "shape",
                    "values",
                    "inputs",
                    "instances",
                    "jsonData",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.integers(1, 4), st.sampled_from([None, "seldon", "tensorflow", "v2"]))
def test_no_json_breaks_it(document: object, width: int, protocol: str | None) -> None:
    found = decode_rows(json.dumps(document).encode(), width, protocol)
    assert found.rows.shape == (len(found.rows), width)
    assert np.isfinite(found.rows).all()
    assert len(found.rows) + found.rejected >= 1
