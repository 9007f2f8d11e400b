"""Mappings laid over each other, as a patch over what it changes."""

from collections.abc import Mapping
from typing import Any


def overlay_values(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of both, those of `over` where both have one; mappings in them are joined the same way."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overlay_values(merged[key], value) if both else value
    return merged
