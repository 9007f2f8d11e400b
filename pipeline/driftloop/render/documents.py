"""A rendered object as plain data, in the order in which it is written."""

from typing import Any

from pydantic import BaseModel

from driftloop.kube.base import ObjectPart

_FIRST = ("name", "namespace", "image", "command", "args")
"""Keys that come before the others."""


def build_document(found: BaseModel) -> dict[str, Any]:
    """Return an object as its file has it."""
    if isinstance(found, ObjectPart):
        return found.dump_object()
    dumped: dict[str, Any] = _ordered(
        found.model_dump(mode="json", by_alias=True, exclude_none=True)
    )
    return {key: dumped[key] for key in ("apiVersion", "kind", "metadata", "spec")} | dumped


def _ordered(value: Any) -> Any:
    """Hera's fields come in the order of the alphabet; a reader wants the name, then what is
    short."""
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    short: dict[str, Any] = {}
    long: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict | list):
            long[key] = _ordered(item)
        else:
            short[key] = item
    whole = short | long
    return {key: whole[key] for key in _FIRST if key in whole} | whole
