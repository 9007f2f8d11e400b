"""What decision services on this machine say of more than their decision."""

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from driftloop.contract.documents import DocumentError
from driftloop.contract.names import CLUSTER_DOMAIN, SERVICE_PORT
from driftloop.errors import LocalError
from driftloop.local.argo.objects import Objects
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints

PATIENCE = 2.0
"""Seconds to wait for one answer of a service."""

Answer = TypeVar("Answer")


def ask_decisions(
    state: StateFolder, path: str, read: Callable[[object], Answer]
) -> tuple[dict[str, Answer], list[str]]:
    """Return what each decision service that has the option `--PATH` answers there, by `<namespace>.<pipeline>`, and a
    line for each that can't be asked."""
    found: dict[str, Answer] = {}
    unknown: list[str] = []
    try:
        addresses = endpoints.read_addresses(state)
        asked = list(_list_decisions(Objects.read(state.objects), f"--{path}"))
    except LocalError as error:
        return found, [f"{path}: {error.message}"]
    for key, host in asked:
        address = addresses.get(f"{host}:{SERVICE_PORT}")
        if address is None:
            continue
        try:
            with endpoints.open_near(f"http://{address}/{path}", timeout=PATIENCE) as response:
                document = json.load(response)
                if document is not None:
                    found[key] = read(document)
        except (OSError, ValueError, DocumentError) as error:
            unknown.append(f"{path} of {key}: {error}")
    return found, unknown


def _list_decisions(objects: Objects, option: str) -> Iterator[tuple[str, str]]:
    """Yield key and host of each decision service with an option; the analysis of a rollout has some of the same."""
    for deployment in objects.of("Deployment"):
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        args = container.get("args") or []
        if option not in args or "driftloop-decision" not in (container.get("command") or []):
            continue
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        key = f"{namespace}.{args[args.index('--pipeline') + 1]}"
        yield key, f"{name}.{namespace}.{CLUSTER_DOMAIN}"
