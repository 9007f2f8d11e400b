"""Fields of a VirtualService as Envoy takes them."""

from collections.abc import Mapping
from typing import Any

from driftloop.errors import LocalError
from driftloop.local.ground import kinds

VIRTUAL_SERVICE = frozenset({"hosts", "gateways", "http"})
HTTP_ROUTE = frozenset({"match", "route", "rewrite", "mirror", "mirrorPercentage"})
DESTINATION = frozenset({"host", "port"})
MATCH = frozenset({"uri"})
URI = frozenset({"prefix"})
REWRITE = frozenset({"uri"})


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


def refuse_other_keys(
    virtual: Mapping[str, Any], value: Mapping[str, Any], where: str, allowed: frozenset[str]
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
