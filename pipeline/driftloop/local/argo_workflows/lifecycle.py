"""End of a Workflow: its deadline, its exit handler, and the time after which it is deleted."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from driftloop.local.argo.nodes import BAD, ENDED, Node, Phase
from driftloop.local.argo.parts import read_part
from driftloop.local.argo_workflows.model import TTLStrategy, WorkflowSpec

STOPPED = "workflow shutdown with strategy:  Stop"
"""Message of a Workflow whose `shutdown` was set, as Argo writes it."""


def remaining(spec: WorkflowSpec, age: float) -> float | None:
    """Return the seconds that a Workflow of `age` seconds may still run; None without a deadline.

    They are negative when the deadline is over.
    """
    return None if spec.active_deadline_seconds is None else spec.active_deadline_seconds - age


def overdue(spec: WorkflowSpec) -> str:
    """Return the message of a Workflow that ran past its deadline."""
    limit = spec.active_deadline_seconds
    return f"workflow exceeded its deadline (activeDeadlineSeconds: {limit})"


def after_exit(phase: Phase, message: str, handler: Node) -> tuple[Phase, str]:
    """Return phase and message of a Workflow: its own, or its exit handler's when that failed."""
    if handler.phase in BAD:
        return handler.phase, f"exit handler: {handler.message}"
    return phase, message


def progress(nodes: Iterable[Node]) -> str:
    """Return `<pods that succeeded>/<pods>`."""
    pods = [node.phase for node in nodes if node.type == "Pod"]
    return f"{pods.count('Succeeded')}/{len(pods)}"


def expiry(workflow: Mapping[str, Any]) -> datetime | None:
    """Return the time at which a Workflow is deleted (`ttlStrategy`).

    None while it is not over, or without a strategy. NotUnderstoodError for a strategy that is not
    one.
    """
    status = workflow.get("status") or {}
    strategy = (status.get("storedWorkflowTemplateSpec") or {}).get("ttlStrategy")
    if strategy is None or status.get("phase") not in ENDED:
        return None
    seconds = read_part(TTLStrategy, strategy, label="ttlStrategy").seconds_after_completion
    return datetime.fromisoformat(status["finishedAt"]) + timedelta(seconds=seconds)
