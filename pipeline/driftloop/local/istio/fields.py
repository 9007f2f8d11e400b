"""Fields of a VirtualService as Envoy takes them."""

from collections.abc import Mapping
from typing import Any

from driftloop.contract.names import ISTIO_NAMESPACE
from driftloop.errors import LocalError
from driftloop.local.ground import kinds

VIRTUAL_SERVICE = frozenset({"hosts", "gateways", "exportTo", "http"})
HTTP_ROUTE = frozenset({"name", "match", "route", "rewrite", "mirror", "mirrorPercentage"})
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


def format_name(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"
