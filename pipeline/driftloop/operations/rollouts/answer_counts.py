"""Number of requests that each release on this machine has answered, as the gateway counts them."""

import contextlib
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from driftloop.contract.names import CLUSTER_DOMAIN
from driftloop.local.ground.addresses import short_path
from driftloop.local.ground.state import StateFolder
from driftloop.local.istio.envoy import ADMIN_SOCKET

PATIENCE = 2.0
"""Seconds that Envoy may take to answer."""
_COUNTED = r"^cluster\.outbound\|\d+\|\|.*\.upstream_rq_(completed|2xx|4xx|5xx)$"
_LINE = re.compile(
    r"cluster\.outbound\|\d+\|\|(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\."
    + re.escape(CLUSTER_DOMAIN)
    + r"\.upstream_rq_(?P<kind>completed|2xx|4xx|5xx): (?P<count>\d+)"
)


@dataclass(frozen=True)
class AnswerCount:
    """Answers of a Service since Envoy started."""

    answered: int = 0
    refused: int = 0
    """Those of them with a status 4xx."""
    failed: int = 0
    """Those with a status 5xx."""


def read_answer_counts(state: StateFolder) -> dict[str, AnswerCount]:
    """Return the answers of each Service, by `<namespace>/<service>`; none while Envoy does not
    answer. A release's Service is `<pipeline>-<release>`."""
    return parse_counts(read_statistics(state, _COUNTED))


def parse_counts(statistics: str) -> dict[str, AnswerCount]:
    """Read Envoy's statistics; of a Service with several ports all are counted together."""
    counts: dict[str, dict[str, int]] = {}
    for line in statistics.splitlines():
        if (match := _LINE.fullmatch(line)) is not None:
            kinds = counts.setdefault(f"{match['namespace']}/{match['service']}", {})
            kinds[match["kind"]] = kinds.get(match["kind"], 0) + int(match["count"])
    return {name: _count(kinds) for name, kinds in counts.items()}


def _count(kinds: Mapping[str, int]) -> AnswerCount:
    return AnswerCount(kinds.get("completed", 0), kinds.get("4xx", 0), kinds.get("5xx", 0))


def read_statistics(state: StateFolder, pattern: str) -> str:
    """Return Envoy's statistics whose names match, one a line; empty while it does not answer."""
    try:
        with _connect(state) as connection:
            connection.request("GET", f"/stats?filter={_quote(pattern)}")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            return text if answer.status == 200 else ""
    except (OSError, HTTPException):
        return ""


@contextlib.contextmanager
def _connect(state: StateFolder) -> Iterator[HTTPConnection]:
    with (
        short_path(state.run / "envoy" / ADMIN_SOCKET) as path,
        socket.socket(socket.AF_UNIX) as stream,
    ):
        stream.settimeout(PATIENCE)
        stream.connect(path)
        connection = HTTPConnection("envoy", timeout=PATIENCE)
        connection.sock = stream
        yield connection


def _quote(pattern: str) -> str:
    return "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in pattern)
