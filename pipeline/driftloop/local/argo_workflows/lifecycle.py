"""End of a Workflow: its deadline, its exit handler, and the time after which it is deleted."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from driftloop.local.argo.nodes import BAD, ENDED, Node, Phase
from driftloop.local.argo.parts import read_part
from driftloop.local.argo_workflows.model import Hook, Hooks, TTLStrategy, WorkflowSpec

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


def exit_hook(hooks: Hooks | None, on_exit: str | None) -> Hook | None:
    """Return the exit handler of a Workflow or of a task, under either of its two names."""
    if hooks is not None and hooks.exit is not None:
        return hooks.exit
    return Hook(template=on_exit) if on_exit else None


def farewell(phase: Phase, nodes: Iterable[Node], age: float) -> dict[str, str]:
    """Return the tags of the exit handler alone: status, failed pods, seconds."""
    failures = [
        {
            "displayName": node.display_name,
            "message": node.message,
            "templateName": node.template,
            "phase": node.phase,
            "podName": node.id,
            "finishedAt": node.finished,
        }
        for node in nodes
        if node.phase in BAD and node.type == "Pod"
    ]
    return {
        "workflow.status": phase,
        "workflow.failures": json.dumps(failures),
        "workflow.duration": f"{age:.6f}",
    }


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
    stored = (status.get("storedWorkflowTemplateSpec") or {}).get("ttlStrategy")
    strategy = (workflow.get("spec") or {}).get("ttlStrategy") or stored
    if strategy is None or status.get("phase") not in ENDED:
        return None
    seconds = _seconds(read_part(TTLStrategy, strategy, label="ttlStrategy"), status["phase"])
    if seconds is None:
        return None
    return datetime.fromisoformat(status["finishedAt"]) + timedelta(seconds=seconds)


def _seconds(strategy: TTLStrategy, phase: str) -> int | None:
    if phase == "Failed" and strategy.seconds_after_failure is not None:
        return strategy.seconds_after_failure
    if phase == "Succeeded" and strategy.seconds_after_success is not None:
        return strategy.seconds_after_success
    return strategy.seconds_after_completion
