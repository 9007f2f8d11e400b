"""Filters of a Trigger: `filter.attributes` and the `filters` dialects exact, all, any and not."""

from collections.abc import Callable, Mapping
from typing import Any

from driftloop.errors import LocalError

Filter = Callable[[Mapping[str, str]], bool]

DIALECTS = ("exact", "all", "any", "not")


def compile_filters(spec: Mapping[str, Any]) -> Filter:
    """The filter of a Trigger's spec; `filters`, when there, replaces `filter`.

    LocalError names an unknown dialect.
    """
    filters = spec.get("filters")
    if filters:
        return _compile_all([_compile_dialect(entry) for entry in filters])
    return _compile_exact(((spec.get("filter") or {}).get("attributes")) or {})


def wanted_type(spec: Mapping[str, Any]) -> str | None:
    """The one event type this filter can let through, or None when it may be several."""
    filters = spec.get("filters")
    if not filters:
        candidates = [((spec.get("filter") or {}).get("attributes")) or {}]
    else:
        candidates = [entry["exact"] for entry in filters if "exact" in entry]
        candidates += [
            nested["exact"]
            for entry in filters
            for nested in entry.get("all", ())
            if "exact" in nested
        ]
    return next((str(entry["type"]) for entry in candidates if entry.get("type")), None)


def _compile_dialect(entry: Mapping[str, Any]) -> Filter:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise LocalError(
            "a filter must have exactly one dialect", hint=f"one of: {', '.join(DIALECTS)}"
        )
    (name, value), *_ = entry.items()
    match name:
        case "exact":
            return _compile_exact(value)
        case "all":
            return _compile_all([_compile_dialect(each) for each in value])
        case "any":
            parts = [_compile_dialect(each) for each in value]
            return lambda attributes: any(part(attributes) for part in parts)
        case "not":
            part = _compile_dialect(value)
            return lambda attributes: not part(attributes)
    raise LocalError(
        f"filter dialect `{name}` is not understood by the local runtime, must be one of: {', '.join(DIALECTS)}"
    )


def _compile_exact(expected: Mapping[str, Any]) -> Filter:
    # an empty value means "has to be there", as in Knative
    pairs = tuple((name, str(value)) for name, value in expected.items())
    return lambda attributes: all(
        (attributes.get(name) == value) if value else name in attributes for name, value in pairs
    )


def _compile_all(parts: list[Filter]) -> Filter:
    if len(parts) == 1:
        return parts[0]
    return lambda attributes: all(part(attributes) for part in parts)
