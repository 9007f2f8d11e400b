"""Last measurements of the analyses of this machine's rollouts, asked of their services."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from driftloop.contract.documents import DocumentError
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints
from driftloop.release.judgement import Measured, read_last

PATIENCE = 2.0
"""Seconds to wait for one answer."""


def ask_analyses(
    state: StateFolder, releases: Mapping[str, Mapping[str, Any]]
) -> dict[str, Measured]:
    """Return what was measured of each pipeline's candidate; one that does not answer, or has measured nothing, is
    left out."""
    try:
        addresses = endpoints.read_addresses(state)
    except LocalError:
        return {}
    measured = {}
    for name, release in releases.items():
        host = next((each for each in addresses if each.startswith(f"{name}-judge.")), None)
        pair = {side: release.get(side) for side in ("production", "candidate")}
        if host is None or not all(pair.values()):
            continue
        last = ask_analysis(addresses[host], pair, PATIENCE)
        if last is not None:
            measured[name] = last
    return measured


def ask_analysis(address: str, pair: Mapping[str, Any], timeout: float) -> Measured | None:
    """Return what the service at an address has measured last of a pair of releases, by `production` and `candidate`; None
    when it does not answer, or has nothing."""
    url = f"http://{address}/judgement?{urlencode(pair)}"
    try:
        with endpoints.open_near(url, timeout=timeout) as response:
            return read_last(response.read())
    except (OSError, ValueError, DocumentError):
        return None
