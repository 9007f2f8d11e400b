"""How a Workflow ends: its deadline, its exit handler, and the time after which it is deleted."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from driftloop.local.argo.nodes import BAD, ENDED, Node, Phase
from driftloop.local.argo.parts import read
from driftloop.local.argo_workflows.model import Hook, Hooks, TTLStrategy, WorkflowSpec


def remaining(spec: WorkflowSpec, age: float) -> float | None:
    """Seconds a Workflow that started `age` seconds ago may still run (negative: none); None without a deadline."""
    return None if spec.active_deadline_seconds is None else spec.active_deadline_seconds - age


def overdue(spec: WorkflowSpec) -> str:
    """What a Workflow says that ran past its deadline."""
    return f"workflow exceeded its deadline (activeDeadlineSeconds: {spec.active_deadline_seconds})"


def exit_hook(hooks: Hooks | None, on_exit: str | None) -> Hook | None:
    """The exit handler of a Workflow or of a task, under either of its two names."""
    if hooks is not None and hooks.exit is not None:
        return hooks.exit
    return Hook(template=on_exit) if on_exit else None


def farewell(phase: Phase, nodes: Iterable[Node], age: float) -> dict[str, str]:
    """What only the exit handler sees: how it ended, after how many seconds, and which pods failed."""
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
    """How the Workflow ended in the end: as before, or as its exit handler when that failed."""
    return (handler.phase, f"exit handler: {handler.message}") if handler.phase in BAD else (phase, message)


def progress(nodes: Iterable[Node]) -> str:
    """`<pods that succeeded>/<pods>`."""
    pods = [node.phase for node in nodes if node.type == "Pod"]
    return f"{pods.count('Succeeded')}/{len(pods)}"


def expiry(workflow: Mapping[str, Any]) -> datetime | None:
    """When a Workflow that is over is deleted; None while it is not over, or when nothing says so (`ttlStrategy`).

    NotUnderstoodError when its own strategy is none.
    """
    status = workflow.get("status") or {}
    stored = (status.get("storedWorkflowTemplateSpec") or {}).get("ttlStrategy")
    found = (workflow.get("spec") or {}).get("ttlStrategy") or stored
    if found is None or status.get("phase") not in ENDED:
        return None
    seconds = _seconds(read(TTLStrategy, found, what="ttlStrategy"), status["phase"])
    return None if seconds is None else datetime.fromisoformat(status["finishedAt"]) + timedelta(seconds=seconds)


def _seconds(strategy: TTLStrategy, phase: str) -> int | None:
    if phase == "Failed" and strategy.seconds_after_failure is not None:
        return strategy.seconds_after_failure
    if phase == "Succeeded" and strategy.seconds_after_success is not None:
        return strategy.seconds_after_success
    return strategy.seconds_after_completion
