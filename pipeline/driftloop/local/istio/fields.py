"""Fields of a VirtualService as Envoy takes them."""

from collections.abc import Mapping
from typing import Any

from driftloop.errors import LocalError
from driftloop.local.ground import kinds


def read_percent(value: Mapping[str, Any] | None) -> float:
    return 100.0 if value is None else float(value["value"])


def read_port(virtual: Mapping[str, Any], destination: Mapping[str, Any]) -> int:
    try:
        return int(destination["port"]["number"])
    except (KeyError, TypeError, ValueError):
        raise LocalError(
            f"VirtualService {format_name(virtual)}: destination {destination.get('host')} has no port number",
            hint="write `port: {number: 8000}`",
        ) from None


def format_seconds(text: str) -> str:
    """A Go duration as Envoy writes it."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit, factor in units.items():
        head = text.removesuffix(unit)
        if head != text and head.replace(".", "", 1).isdigit():
            return f"{float(head) * factor:.3f}s"
    raise LocalError(f"`{text}` is not a duration", hint="write it as 250ms, 10s, 5m or 1h")


def refuse_other_keys(
    virtual: Mapping[str, Any], value: Mapping[str, Any], where: str, allowed: set[str]
) -> None:
    kinds.refuse_other_keys(
        f"VirtualService {format_name(virtual)}",
        where,
        value,
        allowed,
        hint=f"supported in {where}: {', '.join(sorted(allowed))}",
    )


def format_name(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"
