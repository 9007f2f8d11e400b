"""Requests and answers of models, in the words of each protocol: the values, and the shape
written beside them.

Events carry the protocol (`ce-protocol`); without it, the keys say which one it is. Nothing is
converted here: the detectors want arrays, the judge wants answers, and only one of them has
numpy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

DIMENSIONS = 32
"""Of an array at most."""
LARGEST = 2**31
"""What one dimension may count; a payload is far smaller, but says what it likes."""


@dataclass(frozen=True)
class PayloadPart:
    """One array of a payload; its first dimension counts rows."""

    values: list[Any]
    """Nested, or flat when there is a shape."""
    shape: tuple[int, ...] | None = None
    name: str | None = None
    """Name of the column, or tensor; None when it has none."""
    names: tuple[str, ...] = ()
    """Names of the columns of its rows; empty when they have none."""


def read_parts(document: Any, protocol: str | None = None) -> tuple[PayloadPart, ...]:
    """The arrays of a payload, in its order, those of named columns one each.

    What is not of the protocol raises ValueError, TypeError or KeyError.
    """
    parts = _READERS.get(protocol, _read_any)(document)
    if not parts or not all(isinstance(part.values, list) for part in parts):
        raise ValueError("no rows")
    return parts


def _read_any(document: Any) -> tuple[PayloadPart, ...]:
    if isinstance(document, list):
        return (PayloadPart(document),)
    if not isinstance(document, dict):
        raise TypeError("not a payload")
    if "instances" in document or "predictions" in document:
        return _read_tensorflow(document)
    for key in ("inputs", "outputs"):
        if key in document:
            tensors = document[key]
            return (
                _read_v2(document)
                if isinstance(tensors, list) and _all_mappings(tensors)
                else _read_tensorflow(document)
            )
    return _read_seldon(document)


def _read_seldon(document: Any) -> tuple[PayloadPart, ...]:
    if "data" in document:
        data = document["data"]
        names = _read_names(data.get("names"))
        if "ndarray" in data:
            return (PayloadPart(data["ndarray"], names=names),)
        sizes = _read_sizes(data["tensor"]["shape"])
        return (PayloadPart(data["tensor"]["values"], sizes, names=names),)
    if "strData" in document:
        return (PayloadPart([str(document["strData"])]),)
    return _read_any(document["jsonData"])


def _read_tensorflow(document: Any) -> tuple[PayloadPart, ...]:
    """Rows (`instances`, `predictions`), whose columns may have names, or columns (`inputs`,
    `outputs`)."""
    for key in ("instances", "predictions"):
        if key in document:
            rows = document[key]
            if isinstance(rows, list) and rows and _all_mappings(rows):
                names = dict.fromkeys(name for row in rows for name in row)
                return tuple(PayloadPart([row.get(n) for row in rows], name=n) for n in names)
            return (PayloadPart(rows),)
    columns = document["inputs"] if "inputs" in document else document["outputs"]
    return (
        tuple(PayloadPart(column, name=name) for name, column in columns.items())
        if isinstance(columns, dict)
        else (PayloadPart(columns),)
    )


def _read_v2(document: Any) -> tuple[PayloadPart, ...]:
    """The Open Inference Protocol's tensors. Bytes behind the JSON (Triton's binary extension)
    never come this far."""
    tensors = []
    for tensor in document["inputs"] if "inputs" in document else document["outputs"]:
        sizes = _read_sizes(tensor["shape"])
        rows = sizes[0] if sizes else 1
        tensors.append(
            PayloadPart(
                tensor["data"],
                (rows, prod(sizes) // rows if rows else 0),
                name=str(tensor.get("name") or "") or None,
            )
        )
    return tuple(tensors)


_READERS: dict[str | None, Callable[[Any], tuple[PayloadPart, ...]]] = {
    "seldon": _read_seldon,
    "tensorflow": _read_tensorflow,
    "v2": _read_v2,
    # Seldon's older word for it
    "kfserving": _read_v2,
}


def _all_mappings(items: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _read_names(names: Any) -> tuple[str, ...]:
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _read_sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > DIMENSIONS:
        raise ValueError("not a shape")
    sizes = tuple(int(size) for size in shape)
    if any(not 0 <= size <= LARGEST for size in sizes):
        raise ValueError("not a size")
    return sizes
