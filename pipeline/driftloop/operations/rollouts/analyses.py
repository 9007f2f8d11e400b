"""Last measurements of the analyses of this machine's rollouts, asked of their services."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

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
        url = f"http://{addresses[host]}/judgement?{urlencode(pair)}"
        try:
            with endpoints.open_near(url, timeout=PATIENCE) as response:
                last = read_last(response.read())
            if last is not None:
                measured[name] = last
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return measured
