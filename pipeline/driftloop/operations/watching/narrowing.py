"""The part of a status that is one pipeline's."""

from collections.abc import Callable
from typing import Any

from driftloop.contract.names import find_owner
from driftloop.errors import LocalError
from driftloop.operations.watching.status import PlatformStatus


def narrow_status(status: PlatformStatus, name: str) -> PlatformStatus:
    """Return the status with the releases, monitors, runs and processes of one pipeline only; what is said of the
    platform stays.

    LocalError where there is no such pipeline.
    """
    deciding = {key.rpartition(".")[2] for key in status.decisions}
    every = sorted({*status.releases, *deciding})
    if name not in every:
        listed = ", ".join(every) or "none yet"
        raise LocalError(f"{status.place} has no pipeline `{name}`, it has: {listed}")

    def owns(thing: str) -> bool:
        # one may have the pipeline's very name
        return find_owner(f"{thing}-", every) == name

    rules: dict[str, Callable[[str], bool]] = {
        "releases": lambda key: key == name,
        **dict.fromkeys(("verdicts", "unjudged", "windows"), lambda key: key.split("/")[1] == name),
        **dict.fromkeys(
            ("decisions", "loops", "tracking", "inboxes"),
            lambda key: key.rpartition(".")[2] == name,
        ),
        "runs": lambda key: owns(key.rpartition("/")[2]),
    }
    narrowed: dict[str, Any] = dict(status.document)
    for part, keeps in rules.items():
        if part in narrowed:
            narrowed[part] = {key: it for key, it in narrowed[part].items() if keeps(key)}
    narrowed["processes"] = [
        process
        for process in status.document["processes"]
        if "/" in process["name"] and owns(process["name"].partition("/")[2])
    ]
    return PlatformStatus.from_json(narrowed)
