"""Rows of numbers in the payloads of Seldon, TensorFlow Serving and the Open Inference Protocol."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftloop.release import payloads

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class DecodedRows:
    """The usable rows of one event (n x width), and how many were not."""

    rows: Rows
    rejected: int


def decode_rows(body: bytes, width: int, protocol: str | None = None) -> DecodedRows:
    """The rows in a payload, each flattened to `width` finite numbers; a payload that can't be
    read is one rejected row."""
    try:
        values = _read_values(payloads.read_parts(json.loads(body), protocol))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return DecodedRows(_reject_all(width), 1)
    array = _read_array(values)
    if array is not None and (shaped := _shape_rows(array, width)) is not None:
        finite = np.isfinite(shaped).all(axis=1)
        if finite.all():
            return DecodedRows(shaped, 0)
        return DecodedRows(shaped[finite], int((~finite).sum()))
    return _one_by_one(values, width)


def _read_values(parts: tuple[payloads.PayloadPart, ...]) -> Any:
    """One part as it is; several side by side."""
    if len(parts) == 1:
        (part,) = parts
        return part.values if part.shape is None else _read_numbers(part.values).reshape(part.shape)
    return np.concatenate([_read_column(part) for part in parts], axis=1)


def _read_column(part: payloads.PayloadPart) -> NDArray[Any]:
    array = _read_numbers(part.values)
    return array.reshape(len(array) if part.shape is None else part.shape[0], -1)


def _read_numbers(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise ValueError("not numbers")
    return array


def _read_array(values: Any) -> NDArray[Any] | None:
    try:
        return _read_numbers(values)
    except ValueError:
        return None


def _shape_rows(array: NDArray[Any], width: int) -> Rows | None:
    """n x width, or None when the numbers don't fall into such rows."""
    if array.ndim == 0 or array.size == 0:
        return None
    if array.ndim == 1 and array.size == width and width != 1:
        array = array.reshape(1, width)
    rows = array.reshape(len(array), -1)
    if rows.shape[1] != width:
        return None
    with np.errstate(over="ignore"):
        return rows.astype(np.float32)


def _one_by_one(values: Any, width: int) -> DecodedRows:
    """Some row is unlike the others; the good ones still count."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return DecodedRows(_reject_all(width), 1)
    good = []
    for value in values:
        array = _read_array([value])
        row = _shape_rows(array, width) if array is not None else None
        if row is not None and np.isfinite(row).all():
            good.append(row)
    rows = np.concatenate(good) if good else _reject_all(width)
    return DecodedRows(rows, len(values) - len(good))


def _reject_all(width: int) -> Rows:
    return np.empty((0, width), dtype=np.float32)
