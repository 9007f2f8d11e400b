"""Parameters of a user's function: a plain value as the type that the function names for it.

The wrapper converts by it when a function is called, and validation judges a spec by it.
"""

import inspect
import types
import typing
from typing import Any

from driftloop.errors import PipelineError

SEED = "seed"
"""Argument that driftloop sets beside the folders, and that the spec's parameters may set."""

_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}


class ParameterError(PipelineError):
    """A value that is not of the annotated type."""

    def __init__(self, value: object, allowed: str, label: str) -> None:
        super().__init__(f"{label} is {value!r}, must be {allowed}")
        self.allowed = allowed
        """Allowed values, as a message lists them."""


def convert_parameter(value: Any, kind: Any, label: str) -> Any:
    """Return a JSON value as the annotated type; ParameterError when it is another."""
    if kind is Any or kind is inspect.Parameter.empty or kind is object:
        return value
    if kind is None or kind is type(None):
        if value is None:
            return None
        raise ParameterError(value, "empty", label)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for member in inner:
            try:
                return convert_parameter(value, member, label)
            except ParameterError:
                continue
        raise ParameterError(value, " or ".join(map(_name_type, inner)), label)
    if origin is typing.Literal:
        if value not in inner:
            raise ParameterError(value, f"one of {', '.join(map(repr, inner))}", label)
        return value
    if origin is typing.Annotated:
        return convert_parameter(value, inner[0], label)
    base = origin or kind
    if base in (list, tuple, set, frozenset) or (
        inspect.isclass(base) and base.__module__ == "collections.abc"
    ):
        return _convert_collection(value, base, inner, label)
    if base is dict:
        if not isinstance(value, dict):
            raise ParameterError(value, "a mapping", label)
        item = inner[1] if len(inner) == 2 else Any
        return {
            key: convert_parameter(member, item, f"{label}, `{key}`")
            for key, member in value.items()
        }
    return _convert_plain(value, base, label)


def _convert_collection(value: Any, base: Any, inner: tuple[Any, ...], label: str) -> Any:
    if not isinstance(value, list):
        raise ParameterError(value, "a list", label)
    item = inner[0] if inner else Any
    if base is tuple and inner and inner[-1] is not Ellipsis:
        if len(inner) != len(value):
            raise ParameterError(value, f"a list of {len(inner)}", label)
        return tuple(
            convert_parameter(member, kind, f"{label}[{n}]")
            for n, (member, kind) in enumerate(zip(value, inner, strict=True))
        )
    items = [convert_parameter(member, item, f"{label}[{n}]") for n, member in enumerate(value)]
    return base(items) if base in (tuple, set, frozenset) else items


def _convert_plain(value: Any, base: Any, label: str) -> Any:
    if base is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ParameterError(value, _NAMES[float], label) from None
    if base is int and not isinstance(value, bool):
        if isinstance(value, int):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    if _is_path(base):
        if isinstance(value, str):
            return base(value)
        raise ParameterError(value, _name_type(base), label)
    if base in (str, bool) and isinstance(value, base):
        return value
    if base not in _NAMES:
        # a class of the user's own: it is for the function to make sense of the value
        return value
    raise ParameterError(value, _NAMES[base], label)


def _name_type(kind: Any) -> str:
    if _is_path(kind):
        return "a path"
    return "empty" if kind is type(None) else _NAMES.get(kind, str(kind))


def _is_path(kind: Any) -> bool:
    """Return True for `pathlib.Path`, which this room does not import: it opens files."""
    return (getattr(kind, "__module__", ""), getattr(kind, "__name__", "")) == ("pathlib", "Path")
