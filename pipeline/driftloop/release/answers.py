"""Answers of a model, reduced to what can be compared: a class, a number, a word, or a
fingerprint of the bytes."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from driftloop.release import payloads
from driftloop.release.tables import BAD_PAYLOAD, read_answer_table

Answer = int | float | str
"""Of one row: the index of the largest value, the single value, or a text (`#…` is a
fingerprint)."""

RELATIVE = 0.05
"""Numbers this close (relative) count as the same answer; whole numbers must be equal."""
ROWS = 1000
"""Rows of one response that are compared."""


def read_answers(body: bytes, protocol: str | None = None) -> tuple[Answer, ...]:
    """The answer of every row in a response (Seldon, TensorFlow or v2 protocol); of unknown
    bodies a fingerprint.

    Of several named outputs the first one counts.
    """
    try:
        rows = _read_rows(json.loads(body), protocol)
    except (
        ValueError,
        RecursionError,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
        OverflowError,
    ):
        rows = None
    if rows is None:
        return (_fingerprint(body),)
    return tuple(_read_answer(row) for row in rows[:ROWS])


def read_class_names(body: bytes, protocol: str | None = None) -> tuple[str, ...]:
    """Return the names of the classes whose places the answers in a response are; none when they have none."""
    try:
        table = read_answer_table(body, protocol)
    except BAD_PAYLOAD:
        return ()
    return table.names if len(table.names) > 1 else ()


def count_classes(body: bytes, protocol: str | None = None) -> int:
    """Return of how many numbers the first answer of a response is the largest one; 1 for an answer that is a
    single value, and for one of another kind."""
    try:
        rows = _read_rows(json.loads(body), protocol) or [None]
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError, IndexError):
        return 1
    values = list(_flatten_values(rows[0]))
    return len(values) if all(isinstance(value, int | float) for value in values) else 1


def compare_answers(ours: Sequence[Answer], theirs: Sequence[Answer]) -> tuple[int, int]:
    """Rows in two responses to one request, and how many of them are answered alike; none when
    the numbers differ.

    A response without rows counts as one.
    """
    rows = max(len(ours), len(theirs), 1)
    if len(ours) != len(theirs):
        return rows, 0
    return rows, sum(_is_same(a, b) for a, b in zip(ours, theirs, strict=True)) if ours else rows


def find_distances(ours: Sequence[Answer], theirs: Sequence[Answer]) -> tuple[float, ...] | None:
    """Return the distance of each row in two responses whose answers are numbers, all of them; None
    for others."""
    if not ours or len(ours) != len(theirs):
        return None
    pairs = list(zip(ours, theirs, strict=True))
    if any(isinstance(answer, str) for pair in pairs for answer in pair):
        return None
    return tuple(abs(float(a) - float(b)) for a, b in pairs)


def _is_same(a: Answer, b: Answer) -> bool:
    if (isinstance(a, float) and isinstance(b, int | float)) or (
        isinstance(b, float) and isinstance(a, int)
    ):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-9)
    return a == b


def _read_rows(document: Any, protocol: str | None) -> list[Any] | None:
    if not isinstance(document, dict):
        return None
    if "jsonData" in document and "data" not in document:
        return [document["jsonData"]]
    first = payloads.read_parts(document, protocol)[0]
    return first.values if first.shape is None else _cut_rows(first.values, first.shape)


def _cut_rows(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Flat values as rows; already nested ones as they are."""
    count = shape[0] if shape else 0
    if (
        not values
        or len(shape) == 1
        or (values and isinstance(values[0], list))
        or count <= 0
        or len(values) % count
    ):
        return values
    width = len(values) // count
    return [values[n * width : (n + 1) * width] for n in range(count)]


def _read_answer(row: Any) -> Answer:
    flat = list(_flatten_values(row))
    numbers = [
        value for value in flat if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) != len(flat) or not numbers:
        return (
            str(flat[0])
            if len(flat) == 1
            else _fingerprint(json.dumps(row, sort_keys=True).encode())
        )
    if len(numbers) > 1:
        return max(
            range(len(numbers)), key=lambda n: -math.inf if math.isnan(numbers[n]) else numbers[n]
        )
    value = numbers[0]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flatten_values(value: Any) -> Any:
    if isinstance(value, list):
        for item in value:
            yield from _flatten_values(item)
    else:
        yield value


def _fingerprint(body: bytes) -> str:
    return "#" + hashlib.blake2b(body, digest_size=12).hexdigest()
