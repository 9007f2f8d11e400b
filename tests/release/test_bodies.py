"""Whatever a body holds, it is read as the standard library reads it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.release.bodies import parse_body

NUMBERS = st.integers() | st.floats() | st.integers(-(2**70), 2**70)
TEXTS = st.text() | st.text(st.characters(categories=["Cs", "Lu"]), max_size=3)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
)


def read(parse: Any, body: bytes) -> tuple[bool, Any]:
    """True and what is read, in words that tell 1 from 1.0 and -0.0 from 0.0; or False."""
    try:
        return True, repr(parse(body))
    except (ValueError, RecursionError):
        return False, None


@given(VALUES, st.booleans())
def test_values_are_those_of_the_standard_library(value: Any, plain: bool) -> None:
    body = json.dumps(value, ensure_ascii=plain).encode(errors="surrogatepass")
    assert read(parse_body, body) == read(json.loads, body)


@given(VALUES, st.data())
def test_damaged_bodies_are_refused_alike(value: Any, data: st.DataObject) -> None:
    body = bytearray(json.dumps(value).encode())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert read(parse_body, bytes(body)) == read(json.loads, bytes(body))


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[1e400, -1e400]",
        "123456789012345678901234567890",
        "-0",
        "-0.0",
        '"\\ud800"',
        "01",
        '{"a":1,"a":2}',
    ],
)
def test_odd_texts(text: str) -> None:
    for body in (
        text.encode(),
        text.encode("utf-16"),
        b"\xef\xbb\xbf" + text.encode(),
        b"[" * 5000,
    ):
        assert read(parse_body, body) == read(json.loads, body)


def test_a_number_too_large_for_a_float_is_infinite() -> None:
    assert parse_body(b"[1e400]") == [math.inf]
