"""Rows out of payloads: each protocol's shapes, and what is not usable is counted, never lost, never an exception."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from support.payloads import json_documents

from driftloop.contract.profiles import ColumnProfile, TableProfile, name_element
from driftloop.services.detector.rows.marks import NAMES, WIDTH, split_marks
from driftloop.services.detector.rows.payload import GAPS, DecodedRows, RowDecoder
from driftloop.services.detector.stream.telemetry import VerdictMetrics


def numbers(name: str, *, single: bool = False) -> ColumnProfile:
    return ColumnProfile(name=name, type="number", rows=9, missing=0, distinct=9, single=single)


def array(width: int) -> TableProfile:
    """The profile of an array in single precision."""
    columns = tuple(numbers(name_element("x", n), single=True) for n in range(width))
    return TableProfile(columns=columns, order=("x",), arrays=(("x", width),))


def decode_rows(body: bytes, width: int, protocol: str | None = None) -> DecodedRows:
    """As the detectors of arrays and of numbers read it."""
    return RowDecoder(array(width), complete=True).decode_rows(body, protocol)


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
        (b'{"instances": [{"a": 1, "b": 2}, {"a": 1}]}', [[1, 2]], 1),
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


JSON = json_documents(
    "data", "ndarray", "tensor", "shape", "values", "inputs", "instances", "jsonData", "x"
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.integers(1, 4), st.sampled_from([None, "seldon", "tensorflow", "v2"]))
def test_no_json_breaks_it(document: object, width: int, protocol: str | None) -> None:
    found = decode_rows(json.dumps(document).encode(), width, protocol)
    assert found.rows.shape == (len(found.rows), width)
    assert np.isfinite(found.rows).all()
    assert len(found.rows) + found.rejected >= 1


TABLE = TableProfile(
    columns=(
        numbers("delay"),
        ColumnProfile(
            name="carrier",
            type="category",
            rows=9,
            missing=0,
            distinct=2,
            categories=(("AA", 5), ("3", 4)),
        ),
        ColumnProfile(
            name="late",
            type="boolean",
            rows=9,
            missing=0,
            distinct=2,
            categories=(("false", 5), ("true", 4)),
        ),
        ColumnProfile(name="tail", type="text", rows=9, missing=0, distinct=9),
        ColumnProfile(name="time", type="time", rows=9, missing=0, distinct=9),
    ),
    order=("delay", "note", "carrier", "late", "tail", "time"),
)
NAN = float("nan")
ROW = {"delay": 2.5, "carrier": "AA", "late": True, "tail": "N14228", "time": "2013-01-01"}
ROWS = [ROW, {"late": 0, "carrier": 3, "tail": "N1", "time": None, "delay": None}]
ENCODED = [[2.5, 0, 1, 6, 0], [NAN, 1, 0, 2, NAN]]


def seldon(rows: list[dict[str, object]]) -> dict[str, object]:
    names = list(rows[-1])
    return {"data": {"names": names, "ndarray": [[row.get(n) for n in names] for row in rows]}}


def tensors(rows: list[dict[str, object]]) -> dict[str, object]:
    return {
        "inputs": [
            {"name": n, "shape": [len(rows), 1], "data": [row.get(n) for row in rows]}
            for n in reversed(rows[0])
        ]
    }


NAMED = {
    "seldon": seldon(ROWS),
    "instances": {"instances": ROWS},
    "columns": {"inputs": {n: [row[n] for row in ROWS] for n in sorted(ROW)}},
    "tensors": tensors(ROWS),
    "position": [["x" if n == "note" else row[n] for n in TABLE.order] for row in ROWS],
    "own columns by position": {"data": {"ndarray": [[row[n] for n in ROW] for row in ROWS]}},
}


def decode_table(payload: object, *, complete: bool = False) -> DecodedRows:
    return RowDecoder(TABLE, complete=complete).decode_rows(json.dumps(payload).encode())


@pytest.mark.parametrize("payload", NAMED.values(), ids=NAMED.keys())
def test_values_are_matched_by_name_whatever_their_order(payload: object) -> None:
    found = decode_table(payload)
    np.testing.assert_array_equal(found.rows, ENCODED)
    assert found.faults.list_counts() == {}


NARROWED = replace(
    TABLE, columns=TABLE.columns[:2], features=("delay", "carrier", "late", "tail", "time")
)
"""Of a detector that looks at two of the five features of six columns."""


@pytest.mark.parametrize("payload", NAMED.values(), ids=NAMED.keys())
def test_a_detector_of_some_columns_takes_them_from_whole_requests(payload: object) -> None:
    found = RowDecoder(NARROWED, complete=False).decode_rows(json.dumps(payload).encode())
    np.testing.assert_array_equal(found.rows, [row[:2] for row in ENCODED])
    assert found.faults.list_counts() == {}


def test_a_detector_of_some_columns_misses_them_in_requests_of_the_others() -> None:
    request = json.dumps({"instances": [{"late": True, "tail": "N1"}]}).encode()
    found = RowDecoder(NARROWED, complete=False).decode_rows(request)
    np.testing.assert_array_equal(found.rows, [[NAN, NAN]])
    assert found.rejected == 0
    found = RowDecoder(NARROWED, complete=True).decode_rows(request)
    assert found.faults.list_counts() == {
        "reasons": {"a value is missing or unreadable in column `delay`": 1}
    }
    two = RowDecoder(NARROWED, complete=False).decode_rows(b'{"data": {"ndarray": [[1, "AA"]]}}')
    assert two.rejected == 1, "a row of two values is none of a model of five"


def test_a_detector_of_an_array_finds_it_among_columns() -> None:
    image = TableProfile(
        columns=(numbers("image[0]"), numbers("image[1]")),
        order=("fare", "image"),
        arrays=(("image", 2),),
        features=("fare", "image"),
    )
    for payload in (
        {"data": {"names": ["fare", "image"], "ndarray": [[1, [5, 6]], [2, [7, 8]]]}},
        {"instances": [{"image": [5, 6], "fare": 1}, {"image": [7, 8], "fare": 1}]},
    ):
        found = RowDecoder(image, complete=True).decode_rows(json.dumps(payload).encode())
        np.testing.assert_array_equal(found.rows, [[5, 6], [7, 8]])
        assert found.rejected == 0


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from([None, "seldon", "tensorflow", "v2"]))
def test_with_marks_no_row_is_rejected_and_the_others_are_the_same(
    document: object, protocol: str | None
) -> None:
    body = json.dumps(document).encode()
    plain = RowDecoder(TABLE, complete=False).decode_rows(body, protocol)
    marked = RowDecoder(TABLE, complete=False, marks=True).decode_rows(body, protocol)
    assert marked.rejected == 0
    rows, reasons = split_marks(marked.rows, len(TABLE.columns))
    assert reasons == dict(plain.faults.rejected)
    np.testing.assert_array_equal(np.where(np.isinf(rows), NAN, rows), plain.rows)
    assert int(np.isinf(rows).sum()) == sum(plain.faults.unreadable.values())
    assert marked.count == plain.count == len(plain.rows) + plain.rejected


def test_what_does_not_fit_a_column_is_missing_and_counted() -> None:
    row = {"delay": "late", "carrier": ["AA"], "late": 7, "tail": {}, "time": [], "gate": 3}
    found = decode_table({"instances": [row, {"carrier": "ZZ", "delay": 1e999, "note": 1}]})
    expected = [[NAN] * 5, [NAN, 2, NAN, NAN, NAN]]
    np.testing.assert_array_equal(found.rows, expected)
    assert found.faults.list_counts() == {
        "unreadable": {"delay": 2, "carrier": 1, "late": 1, "tail": 1, "time": 1},
        "unknown": {"gate": 2},
        "unseen": {"carrier ZZ": 1},
    }


def test_callers_choose_names_and_can_not_end_the_metrics() -> None:
    """Half a surrogate pair is no UTF-8, and a terminal acts upon what is not printable."""
    row = {"\ud800": 1, "\x1b[2J": 2, "carrier": "\ud800", "delay": 1}
    found = decode_table({"instances": [row]})
    registry = CollectorRegistry()
    VerdictMetrics(registry).show_faults(found.faults)
    assert rb'column="\\ud800"' in generate_latest(registry)
    assert found.faults.list_counts() == {
        "unknown": {"\\ud800": 1, "\\x1b[2J": 1},
        "unseen": {"carrier \\ud800": 1},
    }


def test_a_row_is_rejected_only_when_it_is_none_of_the_models() -> None:
    assert decode_table({"instances": [{"a": 1}, {"b": 2}]}).faults.rejected == {NAMES: 2}
    found = decode_table([[1, 2], [*ROW.values()], 7])
    np.testing.assert_array_equal(found.rows, ENCODED[:1])
    assert found.faults.rejected == {WIDTH: 2}


def test_a_detector_of_numbers_says_which_column_has_a_gap() -> None:
    profile = TableProfile(columns=(numbers("a"), numbers("b")), order=("b", "a"))
    decoder = RowDecoder(profile, complete=True)
    found = decoder.decode_rows(b'{"instances": [{"b": 1, "a": 2}, {"a": 3}, {"b": 4, "a": "?"}]}')
    assert found.rows.tolist() == [[2, 1]]
    assert found.faults.rejected == {f"{GAPS} `b`": 1, f"{GAPS} `a`": 1}
    assert decoder.decode_rows(b"[[1, 2]]").rows.tolist() == [[2, 1]]
    fast = decoder.decode_rows(b'{"data": {"names": ["a", "c", "b"], "ndarray": [[1, 9, 2]]}}')
    assert (fast.rows.tolist(), fast.faults.unknown) == ([[1, 2]], {"c": 1})


def test_each_request_is_read_by_its_own_names() -> None:
    profile = TableProfile(columns=(numbers("a"), numbers("b")), order=("b", "a"))
    decoder = RowDecoder(profile, complete=True)
    requests = {
        ("a", "b"): [[1, 2]],
        ("b", "a"): [[2, 1]],
        ("b", "c", "a"): [[3, 1]],
        ("c", "b"): [],
        # of a name that comes twice the first counts
        ("a", "b", "a"): [[1, 2]],
    }
    for names, rows in (*requests.items(), *reversed(requests.items())):
        data = {"names": names, "ndarray": [[1, 2, 3][: len(names)]]}
        found = decoder.decode_rows(json.dumps({"data": data}).encode())
        assert found.rows.tolist() == rows, names
        assert found.faults.unknown == ({"c": 1} if "c" in names else {}), names


def test_whole_numbers_stay_exact() -> None:
    profile = TableProfile(columns=(numbers("id"),), order=("id",))
    decoder = RowDecoder(profile, complete=False)
    found = decoder.decode_rows(b'{"instances": [{"id": 16777216}, {"id": 16777217}]}')
    assert found.rows[0, 0] != found.rows[1, 0]


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from([None, "seldon", "tensorflow", "v2"]), st.booleans())
def test_no_json_breaks_a_table(document: object, protocol: str | None, complete: bool) -> None:
    decoder = RowDecoder(TABLE, complete=complete)
    found = decoder.decode_rows(json.dumps(document).encode(), protocol)
    assert found.rows.shape == (len(found.rows), 5)
    assert len(found.rows) + found.rejected >= 1
