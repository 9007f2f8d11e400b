"""Fields of a VirtualService as Envoy takes them."""

import re
from collections.abc import Mapping
from typing import Any

from driftloop.contract.names import ISTIO_NAMESPACE
from driftloop.errors import LocalError
from driftloop.local.ground import kinds

VIRTUAL_SERVICE = frozenset({"hosts", "gateways", "exportTo", "http"})
HTTP_ROUTE = frozenset(
    {
        "name", "match", "route", "rewrite", "mirror", "mirrorPercentage", "timeout", "directResponse",
        "corsPolicy", "headers",
    }
)  # fmt: skip
CORS_POLICY = frozenset(
    {
        "allowOrigins",
        "allowMethods",
        "allowHeaders",
        "exposeHeaders",
        "maxAge",
        "unmatchedPreflights",
    }
)
ORIGIN = frozenset({"exact"})
HEADERS = frozenset({"request"})
REQUEST_HEADERS = frozenset({"remove"})
DIRECT_RESPONSE = frozenset({"status", "body"})
DIRECT_BODY = frozenset({"string"})
DESTINATION = frozenset({"host", "port"})
MATCH = frozenset({"uri"})
URI = frozenset({"prefix"})
REWRITE = frozenset({"uri"})

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?s")


def read_percent(value: Mapping[str, Any] | None) -> float:
    return 100.0 if value is None else float(value["value"])


def read_timeout(virtual: Mapping[str, Any], route: Mapping[str, Any]) -> str:
    """Return a route's timeout, as Envoy writes it; without one there is none, as in Istio."""
    return read_seconds(virtual, "timeout", route.get("timeout", "0s"))


def read_seconds(virtual: Mapping[str, Any], field: str, value: object) -> str:
    """Return a length of time; LocalError for another unit."""
    text = str(value)
    if _SECONDS.fullmatch(text) is None:
        raise LocalError(
            f"VirtualService {format_name(virtual)}: {field} is `{text[:20]}`, must be seconds",
            hint=f"write `{field}: 60s`",
        )
    return text


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


def read_precedence(virtual: Mapping[str, Any]) -> tuple[bool, str]:
    """Return what the gateway sorts VirtualServices by: those exported to its namespace by name
    come before those exported to all.

    LocalError for one that the gateway would not see.
    """
    exported = virtual["spec"].get("exportTo") or ["*"]
    if "*" not in exported and ISTIO_NAMESPACE not in exported:
        raise LocalError(
            f"VirtualService {format_name(virtual)}: exportTo is {', '.join(exported)}, which is not the "
            "gateway's namespace",
            hint=f"name `{ISTIO_NAMESPACE}` in exportTo, or leave it out",
        )
    return "*" in exported, format_name(virtual)


def list_prefixes(virtual: Mapping[str, Any], route: Mapping[str, Any]) -> list[str]:
    """Return the prefixes of the paths that a route takes."""
    prefixes = []
    for match in route["match"]:
        refuse_other_keys(virtual, match, "match[]", MATCH)
        refuse_other_keys(virtual, match["uri"], "match[].uri", URI)
        prefixes.append(str(match["uri"]["prefix"]))
    return prefixes


def format_name(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"
