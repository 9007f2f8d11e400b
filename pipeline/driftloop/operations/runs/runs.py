"""Follow a run to its end, with the rollout it leads to, and cancel one."""

import getpass
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from driftloop.clients.kubernetes import KubernetesClient, workflow_ended
from driftloop.contract.approvals import list_holds
from driftloop.contract.documents import DocumentError
from driftloop.contract.names import WEBHOOK_PORT, find_owner
from driftloop.contract.outcomes import RunOutcome, WorkflowEnd, clean_reason
from driftloop.errors import LocalError
from driftloop.local.ground.sentences import format_step
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints
from driftloop.operations.runs.run_workflows import read_step

GONE_AFTER = 30.0
"""Seconds after which a run that does not appear is given up."""
POLL = 1.0
"""Seconds between two reads of a Workflow."""
TOLD_EVERY = 15.0
"""Seconds between two reports how far a step is."""

Report = Callable[[str], None]


def require_runtime(api: KubernetesClient | None) -> KubernetesClient:
    """Return the API of the runtime; LocalError when it is not reachable from here."""
    if api is None:
        raise LocalError(
            "the runtime is not reachable from here",
            hint="start it with `driftloop up`, or name a cluster with --cluster",
        )
    return api


@dataclass(frozen=True)
class StartedRollout:
    """A run whose candidate is in its rollout, in this Workflow."""

    workflow: str


def follow_training(
    api: KubernetesClient, namespace: str, run: str, report: Report
) -> RunOutcome | StartedRollout:
    """Report each step as it ends, until the run has an outcome or its rollout begins.

    LocalError when the run does not appear, or disappears.
    """
    workflow = _follow_workflow(api, namespace, run, report)
    end = _read_end(workflow)
    if end is not None and end.rollout is not None:
        report(f"{run} goes on in {end.rollout}")
        return StartedRollout(end.rollout)
    return _read_outcome(workflow, end)


def follow_run(api: KubernetesClient, namespace: str, run: str, report: Report) -> RunOutcome:
    """Report each step as it ends and return the outcome of a run, after that of its rollout."""
    ended = follow_training(api, namespace, run, report)
    if isinstance(ended, RunOutcome):
        return ended
    workflow = _follow_workflow(api, namespace, ended.workflow, report)
    return _read_outcome(workflow, _read_end(workflow))


def _read_outcome(workflow: Mapping[str, Any], end: WorkflowEnd | None) -> RunOutcome:
    if end is None or end.outcome is None:
        status = workflow["status"]
        message = clean_reason(str(status.get("message") or ""))
        reason = f"its workflow ended as {status['phase']} without an outcome"
        return RunOutcome.now("failed", f"{reason}: {message}" if message else reason)
    return end.outcome


def cancel_run(
    api: KubernetesClient, namespace: str, run: str, reason: str, report: Report
) -> RunOutcome:
    """Stop the Workflow of a run, or of its rollout, and return the outcome.

    LocalError when the run does not exist, or is over.
    """
    person = f"person {getpass.getuser()}"
    by = f"{person}: {reason}" if reason else person
    workflow, name = api.get_workflow(namespace, run), run
    end = _read_end(workflow) if workflow is not None and workflow_ended(workflow) else None
    if end is not None and end.rollout is not None:
        workflow, name = api.get_workflow(namespace, end.rollout), end.rollout
        end = _read_end(workflow) if workflow is not None and workflow_ended(workflow) else None
    if workflow is None:
        raise LocalError(f"run `{name}` does not exist", hint="`driftloop status` names the runs")
    if workflow_ended(workflow):
        how = end.outcome.text if end is not None and end.outcome is not None else "over"
        raise LocalError(f"run `{run}` has ended: {how}")
    report(f"stopping {name}")
    if api.stop_workflow(namespace, name, by) is None:
        raise LocalError(f"run `{name}` does not exist any more")
    stopped = _follow_workflow(api, namespace, name, report, before=workflow)
    end = _read_end(stopped)
    if end is not None and end.rollout is not None:
        # its training ended in the same moment: the rollout is what has to be stopped now
        return cancel_run(api, namespace, run, reason, report)
    return _read_outcome(stopped, end)


def find_namespace(state: StateFolder, run: str) -> str:
    """Return the namespace of a run on this machine; LocalError when no pipeline here has it."""
    hosts = [
        address.split(".")
        for address in endpoints.read_addresses(state)
        if address.endswith(f":{WEBHOOK_PORT}")
    ]
    pipelines = {parts[0].removesuffix("-retrain"): parts[1] for parts in hosts}
    owner = find_owner(run, pipelines)
    if owner is None:
        listed = ", ".join(sorted(pipelines)) or "none"
        raise LocalError(f"`{run}` is not a run of a pipeline in {state.root}, running: {listed}")
    return pipelines[owner]


def find_pipeline_namespace(state: StateFolder, name: str) -> str:
    """Return the namespace of a pipeline on this machine; LocalError when it does not run here."""
    return endpoints.find_endpoint(state, name, suffix="-retrain", port=WEBHOOK_PORT).namespace


def _follow_workflow(
    api: KubernetesClient,
    namespace: str,
    name: str,
    report: Report,
    *,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a Workflow that has ended; steps that had ended in `before` are not reported."""
    reported: set[str] = set()
    far = _ReportedProgress(report)
    _report_steps(before or {}, reported, lambda _: None)
    exists = False
    deadline = time.monotonic() + GONE_AFTER
    while True:
        workflow = api.get_workflow(namespace, name)
        exists = exists or workflow is not None
        if workflow is not None:
            _report_steps(workflow, reported, report)
            _report_holds(workflow, reported, report)
            far.report_steps(workflow)
            if workflow_ended(workflow):
                return workflow
        elif exists or time.monotonic() > deadline:
            raise LocalError(f"run `{name}` does not exist", hint="see `driftloop logs argo`")
        time.sleep(POLL)


def _report_steps(workflow: Mapping[str, Any], reported: set[str], report: Report) -> None:
    """Report the steps that ended since the last look, in the order in which they did."""
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    ended = [
        (str(node.get("finishedAt") or ""), id, node)
        for id, node in nodes.items()
        if node.get("type") == "Pod"
        and node.get("phase") in ("Succeeded", "Failed", "Error")
        and id not in reported
    ]
    for _, id, node in sorted(ended, key=lambda item: item[:2]):
        reported.add(id)
        message = clean_reason(str(node.get("message") or ""))
        ending = "done" if node["phase"] == "Succeeded" else node["phase"].lower()
        step = f"{format_step(node, nodes)} {ending}"
        report(f"{step}: {message}" if message else step)


def _report_holds(workflow: Mapping[str, Any], reported: set[str], report: Report) -> None:
    """Report what waits for a person, once."""
    for hold in list_holds(workflow):
        if hold.node not in reported:
            reported.add(hold.node)
            report(f"{hold.text}; `driftloop approve` lets it go on")


@dataclass
class _ReportedProgress:
    """How far steps are by their own count, each told now and then."""

    report: Report
    told: dict[str, tuple[float, str]] = field(default_factory=dict)
    """When a step's was told, and what, by the id of its node."""

    def report_steps(self, workflow: Mapping[str, Any]) -> None:
        """Report those that have gone on."""
        nodes = (workflow.get("status") or {}).get("nodes") or {}
        for id, node in nodes.items():
            if node.get("type") != "Pod":
                continue
            step = read_step(node, nodes, "")
            since, before = self.told.get(id, (0.0, ""))
            now = time.monotonic()
            if step.progress in (None, before) or (before and now - since < TOLD_EVERY):
                continue
            self.told[id] = now, str(step.progress)
            self.report(f"{format_step(node, nodes)}: {step.describe_progress(datetime.now(UTC))}")


def _read_end(workflow: Mapping[str, Any]) -> WorkflowEnd | None:
    try:
        return WorkflowEnd.of(workflow)
    except DocumentError as error:
        raise LocalError(
            f"the end of the run can't be read: {error.message}",
            hint="another version of driftloop wrote it",
        ) from error
