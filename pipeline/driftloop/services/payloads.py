"""What models are asked and answer, in the words of each protocol: the values, and the shape written beside them.

Events carry the protocol (`ce-protocol`); without it, the keys say which one it is. Nothing is converted here: the
detectors want arrays, the judge wants answers, and only one of them has numpy.
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
class Part:
    """One array of a payload; its first dimension counts rows."""

    values: list[Any]
    """Nested, or flat when there is a shape."""
    shape: tuple[int, ...] | None = None


def parts(document: Any, protocol: str | None = None) -> tuple[Part, ...]:
    """The arrays of a payload, in its order, those of named columns one each.

    What is not of the protocol raises ValueError, TypeError or KeyError.
    """
    found = _READERS.get(protocol, _any)(document)
    if not found or not all(isinstance(part.values, list) for part in found):
        raise ValueError("no rows")
    return found


def _any(document: Any) -> tuple[Part, ...]:
    if isinstance(document, list):
        return (Part(document),)
    if not isinstance(document, dict):
        raise TypeError("not a payload")
    if "instances" in document or "predictions" in document:
        return _tensorflow(document)
    for key in ("inputs", "outputs"):
        if key in document:
            tensors = document[key]
            return _v2(document) if isinstance(tensors, list) and _all_mappings(tensors) else _tensorflow(document)
    return _seldon(document)


def _seldon(document: Any) -> tuple[Part, ...]:
    if "data" in document:
        data = document["data"]
        if "ndarray" in data:
            return (Part(data["ndarray"]),)
        return (Part(data["tensor"]["values"], _sizes(data["tensor"]["shape"])),)
    if "strData" in document:
        return (Part([str(document["strData"])]),)
    return _any(document["jsonData"])


def _tensorflow(document: Any) -> tuple[Part, ...]:
    """Rows (`instances`, `predictions`), whose columns may have names, or columns (`inputs`, `outputs`)."""
    for key in ("instances", "predictions"):
        if key in document:
            rows = document[key]
            if isinstance(rows, list) and rows and _all_mappings(rows):
                return tuple(Part([row[name] for row in rows]) for name in rows[0])
            return (Part(rows),)
    columns = document["inputs"] if "inputs" in document else document["outputs"]
    return tuple(Part(column) for column in columns.values()) if isinstance(columns, dict) else (Part(columns),)


def _v2(document: Any) -> tuple[Part, ...]:
    """The Open Inference Protocol's tensors. Bytes behind the JSON (Triton's binary extension) never come this far."""
    found = []
    for tensor in document["inputs"] if "inputs" in document else document["outputs"]:
        sizes = _sizes(tensor["shape"])
        rows = sizes[0] if sizes else 1
        found.append(Part(tensor["data"], (rows, prod(sizes) // rows if rows else 0)))
    return tuple(found)


_READERS: dict[str | None, Callable[[Any], tuple[Part, ...]]] = {
    "seldon": _seldon,
    "tensorflow": _tensorflow,
    "v2": _v2,
    # Seldon's older word for it
    "kfserving": _v2,
}


def _all_mappings(items: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > DIMENSIONS:
        raise ValueError("not a shape")
    sizes = tuple(int(size) for size in shape)
    if any(not 0 <= size <= LARGEST for size in sizes):
        raise ValueError("not a size")
    return sizes
