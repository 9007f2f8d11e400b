"""Places of a workflow at which a person has to say that it goes on: nodes of Argo's type `Suspend`.

A node that is held has inputs that say what is asked; whoever ends it supplies the outputs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import document_key, from_json, is_text
from driftloop.contract.outcomes import read_moment
from driftloop.contract.records import moment_key, text_key

SUSPEND = "Suspend"
"""Argo's type of the node."""
ASKS, APPROVERS, RUN = "asks", "approvers", "run"
"""Inputs: what an approval does, who may give it (JSON, none: everybody), and the run that is held."""
WHO, WHEN, REASON = "who", "when", "reason"
SUPPLIED = (WHO, WHEN, REASON)
"""Outputs that a person supplies."""
APPROVED_BY_TRAILER = "Approved-by"


@dataclass(frozen=True)
class Hold:
    """A run that waits for a person."""

    workflow: str
    node: str
    """Id of the node."""
    step: str
    run: str
    asks: str
    """What an approval does, as a sentence goes on with it."""
    since: str
    approvers: tuple[str, ...] = ()
    """Who may approve; empty: everybody who can reach the workflow."""

    def describe(self) -> str:
        """Say what is waited for, and since when."""
        who = f" of {', '.join(self.approvers)}" if self.approvers else ""
        return f"waits since {self.since} for the approval{who}: {self.asks}"

    @property
    def text(self) -> str:
        """The run, and what it waits for."""
        return f"{self.run} {self.describe()}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a status shows it."""
        return {
            "node": self.node,
            "step": self.step,
            "run": self.run,
            "asks": self.asks,
            "since": self.since,
            "approvers": list(self.approvers),
        }

    @classmethod
    def from_json(cls, workflow: str, document: Mapping[str, Any]) -> "Hold":
        """Read what `to_json` wrote."""
        return cls(
            workflow=workflow,
            node=str(document["node"]),
            step=str(document["step"]),
            run=str(document["run"]),
            asks=str(document["asks"]),
            since=str(document["since"]),
            approvers=tuple(map(str, document.get("approvers") or ())),
        )


@dataclass(frozen=True, kw_only=True)
class Approval:
    """What a person has approved."""

    run: str = text_key("run")
    """Run that was held."""
    step: str = text_key("step")
    """Step of the workflow at which it was."""
    who: str = document_key("who", "a text that is not empty", is_text)
    """The person, as git or Kubernetes names them."""
    when: str | None = moment_key("when")
    """Time of the approval."""
    reason: str = text_key("reason")
    """Why, in the person's words."""
    asked: str | None = moment_key("askedAt")
    """Time from which it was waited for."""

    @classmethod
    def read(cls, document: object) -> "Approval":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="an approval of run.json", closed=False)

    @property
    def text(self) -> str:
        """The approval as people read it."""
        return f"approved by {self.who}{f': {self.reason}' if self.reason else ''}"


def list_holds(workflow: Mapping[str, Any], *, phase: str = "Running") -> tuple[Hold, ...]:
    """Return what a Workflow waits for, the first first; with another phase, the waits that ended so."""
    name = str((workflow.get("metadata") or {}).get("name") or "")
    holds = []
    for node in _list_nodes(workflow):
        if node.get("phase") != phase:
            continue
        given = _read_values(node, "inputs")
        hold = Hold(
            workflow=name,
            node=str(node.get("id")),
            step=str(node.get("displayName") or ""),
            run=given.get(RUN, ""),
            asks=given.get(ASKS, ""),
            since=str(node.get("startedAt") or ""),
            approvers=read_approvers(given.get(APPROVERS, "")),
        )
        holds.append(hold)
    return tuple(sorted(holds, key=lambda hold: hold.since))


def describe_hold(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key that a status adds for a Workflow that waits for a person: `hold`."""
    holds = list_holds(workflow)
    return {"hold": holds[0].to_json()} if holds else {}


def list_approvals(workflow: Mapping[str, Any]) -> tuple[Approval, ...]:
    """Return what people have approved in a Workflow, the first first."""
    found = []
    for node in _list_nodes(workflow):
        given = _read_values(node, "outputs")
        if node.get("phase") == "Succeeded" and given.get(WHO):
            approval = Approval(
                run=_read_values(node, "inputs").get(RUN, ""),
                step=str(node.get("displayName") or ""),
                who=given[WHO],
                when=read_moment(given.get(WHEN)),
                reason=given.get(REASON, ""),
                asked=read_moment(node.get("startedAt")),
            )
            found.append((str(node.get("finishedAt") or ""), approval))
    return tuple(approval for _, approval in sorted(found, key=lambda item: item[0]))


def write_approvers(names: tuple[str, ...]) -> str:
    """Return the input that says who may approve."""
    return json.dumps(names)


def read_approvers(text: str) -> tuple[str, ...]:
    """Return who may approve; empty: everybody. What is no list is the name of nobody."""
    try:
        names = json.loads(text) if text else []
    except ValueError:
        names = text
    return tuple(map(str, names)) if isinstance(names, list) else (text,)


def _list_nodes(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    return (node for node in nodes.values() if node.get("type") == SUSPEND)


def _read_values(node: Mapping[str, Any], side: str) -> dict[str, str]:
    return {
        str(item.get("name")): str(item.get("value") or "")
        for item in (node.get(side) or {}).get("parameters") or ()
    }
