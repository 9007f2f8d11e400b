"""The windows that the detectors of this machine have open, asked of their services."""

import json
from collections.abc import Iterator
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.contract.names import CLUSTER_DOMAIN, SERVICE_PORT
from driftloop.contract.windows import OpenWindow
from driftloop.errors import LocalError
from driftloop.local.argo.objects import Objects
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints

PATIENCE = 2.0
"""Seconds to wait for one answer."""


def ask_windows(
    state: StateFolder, pipeline: str | None = None
) -> tuple[dict[str, OpenWindow], list[str]]:
    """Return the open window of each detector that runs, by `<namespace>/<pipeline>/<detector>`, and
    a line for each that does not answer; only those of one pipeline when it is named."""
    windows: dict[str, OpenWindow] = {}
    unknown: list[str] = []
    try:
        addresses = endpoints.read_addresses(state)
        detectors = list(_list_detectors(Objects.read(state.objects)))
    except LocalError as error:
        return windows, [f"open windows: {error.message}"]
    for key, host in detectors:
        if pipeline not in (None, key.split("/")[1]) or f"{host}:{SERVICE_PORT}" not in addresses:
            continue
        url = f"http://{addresses[f'{host}:{SERVICE_PORT}']}/window"
        try:
            with endpoints.open_near(url, timeout=PATIENCE) as response:
                windows[key] = OpenWindow.read(json.load(response))
        except (OSError, ValueError, DocumentError) as error:
            unknown.append(f"open window of {key}: {error}")
    return windows, unknown


def _list_detectors(objects: Objects) -> Iterator[tuple[str, str]]:
    """Yield the key and the host of each detector's Service."""
    for deployment in objects.of("Deployment"):
        container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
        args = container.get("args") or []
        if "--detector" not in args or "--release" not in args:
            continue
        option = {name: args[args.index(name) + 1] for name in ("--pipeline", "--detector")}
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        key = f"{namespace}/{option['--pipeline']}/{option['--detector']}"
        yield key, f"{name}.{namespace}.{CLUSTER_DOMAIN}"
