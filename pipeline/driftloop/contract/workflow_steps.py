"""Steps of a Workflow as its nodes have them: their names, and how far those are that go on, by their own count."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from driftloop.contract.names import NAME_LABEL
from driftloop.contract.outcomes import read_moment
from driftloop.contract.runs import describe_progress, is_progress, measure_left

Json = Mapping[str, Any]

_TRY = re.compile(r"(.+)\((\d+)\)")


def find_pipeline(workflow: Json) -> str:
    """Return the pipeline that a Workflow is labelled with; empty without one."""
    return str(((workflow.get("metadata") or {}).get("labels") or {}).get(NAME_LABEL) or "")


def split_attempt(node: Json, nodes: Mapping[str, Json]) -> tuple[str, int]:
    """Return the name of a step without its attempt, and the attempt, from 0."""
    name, attempt = str(node.get("displayName", "")), 0
    match = _TRY.fullmatch(name)
    if match and any(
        other.get("type") == "Retry" and other.get("displayName") == match[1]
        for other in nodes.values()
    ):
        name, attempt = match[1], int(match[2])
    if name.endswith(".onExit"):
        name = str(node.get("templateName") or name)
    return name, attempt


def name_step(node: Json, nodes: Mapping[str, Json]) -> str:
    """Return the name of a pod's node as records have it: its task, or an exit handler's template.

    The attempt is named from the second on.
    """
    name, attempt = split_attempt(node, nodes)
    return f"{name} (try {attempt + 1})" if attempt else name


def read_progress(node: Json) -> str | None:
    """Return how far a running pod says that it is; None of one that says nothing: Argo then counts it as 0 of 1."""
    text = str(node.get("progress") or "")
    running = node.get("phase") == "Running"
    return text if running and is_progress(text) and not text.endswith("/1") else None


@dataclass(frozen=True)
class StepProgress:
    """How far a step is that goes on."""

    step: str
    """Its name, as `driftloop logs` names it."""
    progress: str
    """So much of so much, such as `3/12`."""
    started: str | None

    def describe(self, now: datetime) -> str:
        """Say how far it is at a time, and how long the rest takes if it goes on like this."""
        return describe_progress(self.progress, self.started, now)

    def measure_left(self, now: datetime) -> float | None:
        """Return in how many seconds it is done if it goes on like this; None when that is not known."""
        return measure_left(self.progress, self.started, now)

    def to_json(self) -> dict[str, Any]:
        """Return it as a status shows it."""
        return {"step": self.step, "progress": self.progress, "startedAt": self.started}

    @classmethod
    def from_json(cls, document: Json) -> "StepProgress":
        """Read what `to_json` wrote."""
        return cls(str(document["step"]), str(document["progress"]), document["startedAt"])


def list_progress(workflow: Json) -> tuple[StepProgress, ...]:
    """Return the steps of a Workflow that go on and say how far they are, the first to start first."""
    nodes: Mapping[str, Json] = (workflow.get("status") or {}).get("nodes") or {}
    found = [
        StepProgress(name_step(node, nodes), progress, read_moment(node.get("startedAt")))
        for node in nodes.values()
        if node.get("type") == "Pod" and (progress := read_progress(node)) is not None
    ]
    return tuple(sorted(found, key=lambda each: (each.started or "", each.step)))


def describe_steps(workflow: Json) -> dict[str, Any]:
    """Return the key that a status adds for a Workflow whose steps say how far they are: `progress`."""
    steps = list_progress(workflow)
    return {"progress": [each.to_json() for each in steps]} if steps else {}
