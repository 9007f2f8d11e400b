"""The nodes of a running Workflow, as Argo writes them into `status.nodes`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from driftloop.clients.s3 import StoreLocation
from driftloop.local.argo.times import now

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Error", "Skipped", "Omitted"]
Type = Literal["Pod", "DAG", "TaskGroup", "Retry", "Skipped", "Suspend"]

BAD: tuple[Phase, ...] = ("Failed", "Error")

ENDED = ("Succeeded", "Failed", "Error")
"""The phases of a Workflow that is over."""


@dataclass(frozen=True)
class Site:
    """Place of a node: name in the tree of nodes, display name, and the node that encloses it."""

    name: str
    display: str
    boundary: str = ""

    def below(self, suffix: str) -> "Site":
        """Return a site whose names go on with `suffix`: an item, an attempt, a hook."""
        return Site(self.name + suffix, self.display + suffix, self.boundary)


@dataclass(frozen=True)
class Outputs:
    """Results of a node: parameters by name, artifacts by name, the exit code of a pod."""

    parameters: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, StoreLocation] = field(default_factory=dict)
    exit_code: int | None = None


@dataclass(frozen=True)
class Node:
    """One node; times as Kubernetes writes them."""

    id: str
    name: str
    display_name: str
    type: Type
    template: str
    boundary: str
    phase: Phase
    message: str = ""
    started: str = field(default_factory=now)
    finished: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)
    children: tuple[str, ...] = ()
    progress: str = ""
    """How far a pod says that it is, such as `3/12`."""

    @classmethod
    def at(cls, site: Site, *, workflow: str, type: Type, template: str) -> "Node":
        """Return a new node, running."""
        return cls(
            id=node_id(workflow, site.name),
            name=site.name,
            display_name=site.display,
            type=type,
            template=template,
            boundary=site.boundary,
            phase="Running",
        )

    @property
    def site(self) -> Site:
        """Place of the node."""
        return Site(self.name, self.display_name, self.boundary)

    @property
    def fulfilled(self) -> bool:
        """True when the node ended."""
        return self.phase not in ("Pending", "Running")

    def ended(self, phase: Phase, message: str = "", outputs: Outputs | None = None) -> "Node":
        """Return the node with its end."""
        return replace(
            self, phase=phase, message=message, finished=now(), outputs=outputs or self.outputs
        )

    def to_json(self) -> dict[str, Any]:
        """Return the node as in `status.nodes`."""
        outputs: dict[str, Any] = {}
        if self.outputs.parameters:
            outputs["parameters"] = _parameters(self.outputs.parameters)
        if self.outputs.artifacts:
            outputs["artifacts"] = [
                {"name": name, "s3": {"bucket": at.bucket, "key": at.key}}
                for name, at in self.outputs.artifacts.items()
            ]
        if self.outputs.exit_code is not None:
            outputs["exitCode"] = str(self.outputs.exit_code)
        document = {
            "id": self.id,
            "name": self.name,
            "displayName": self.display_name,
            "type": self.type,
            "templateName": self.template,
            "boundaryID": self.boundary,
            "phase": self.phase,
            "message": self.message,
            "startedAt": self.started,
            "finishedAt": self.finished,
            "inputs": {"parameters": _parameters(self.inputs)} if self.inputs else None,
            "outputs": outputs,
            "children": list(self.children),
            "progress": self.progress,
        }
        return {key: value for key, value in document.items() if value}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Node":
        """Read a stored node."""
        outputs = document.get("outputs", {})
        return cls(
            id=document["id"],
            name=document["name"],
            display_name=document["displayName"],
            type=document["type"],
            template=document.get("templateName", ""),
            boundary=document.get("boundaryID", ""),
            phase=document["phase"],
            message=document.get("message", ""),
            started=document["startedAt"],
            finished=document.get("finishedAt"),
            inputs={
                p["name"]: p["value"] for p in document.get("inputs", {}).get("parameters", [])
            },
            outputs=Outputs(
                parameters={p["name"]: p["value"] for p in outputs.get("parameters", [])},
                artifacts={
                    a["name"]: StoreLocation(a["s3"]["bucket"], a["s3"]["key"])
                    for a in outputs.get("artifacts", [])
                },
                exit_code=int(outputs["exitCode"]) if "exitCode" in outputs else None,
            ),
            children=tuple(document.get("children", ())),
            progress=document.get("progress", ""),
        )


def node_id(workflow: str, name: str) -> str:
    """Return the id Argo gives a node.

    It is the workflow's name and, but for the root, the FNV-1a hash of the node's name.
    """
    if name == workflow:
        return workflow
    value = 2166136261
    for byte in name.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return f"{workflow}-{value}"


def _parameters(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def first_message(nodes: Iterable[Node]) -> str:
    """Return the message of the first of these nodes that failed; empty when none did."""
    messages = (f"{n.display_name}: {n.message}" for n in nodes if n.phase in BAD and n.message)
    return next(messages, "")
