"""Approve what waits for a person: end a suspended node of its Workflow, with who, when and why."""

from collections.abc import Callable
from typing import Any

from driftloop.clients.kubernetes import ConflictError, KubernetesClient
from driftloop.contract.approvals import (
    REASON,
    WHEN,
    WHO,
    Approval,
    Hold,
    list_approvals,
    list_holds,
)
from driftloop.contract.times import format_now
from driftloop.contract.workflow_steps import find_pipeline
from driftloop.errors import LocalError
from driftloop.operations.runs.trigger import REPLACED

REASON_LENGTH = 200
TRIES = 30
"""Tries to write a Workflow that its controller writes, too."""


def list_pipeline_holds(
    api: KubernetesClient, namespace: str, name: str
) -> tuple[tuple[dict[str, Any], Hold], ...]:
    """Return what waits for a person of a pipeline, with its Workflows."""
    return tuple(
        (workflow, hold)
        for workflow in api.list_open_workflows(namespace)
        if find_pipeline(workflow) == name
        for hold in list_holds(workflow)
    )


def find_hold(
    api: KubernetesClient, namespace: str, name: str, run: str | None
) -> tuple[dict[str, Any], Hold]:
    """Return what waits for a person of a pipeline, and its Workflow; of `run`, where one is named.

    LocalError when nothing waits, or more than one does.
    """
    found = list_pipeline_holds(api, namespace, name)
    chosen = [(each, hold) for each, hold in found if run in (None, hold.run, hold.workflow)]
    if len(chosen) == 1:
        return chosen[0]
    waits = ", ".join(f"{hold.run} ({hold.asks})" for _, hold in found)
    if chosen:
        raise LocalError(
            f"more than one run of `{name}` waits for a person", hint=f"name it: {waits}"
        )
    what = f"run `{run}`" if run is not None else f"nothing of `{name}`"
    verb = "does not wait for a person" if run is not None else "waits for a person"
    hint = (
        f"what waits: {waits}"
        if waits
        else f"`driftloop status` and `driftloop why {name}` tell what goes on"
    )
    raise LocalError(f"{what} {verb}", hint=hint)


def require_approver(who: str, approvers: tuple[str, ...], what: str) -> None:
    """Raise LocalError, which says who may, for somebody who may not approve it."""
    if approvers and who not in approvers:
        raise LocalError(
            f"`{who}` may not approve {what}, must be one of: {', '.join(approvers)}",
            hint="`approvers` of the spec says who may",
        )


def approve_hold(
    api: KubernetesClient,
    namespace: str,
    name: str,
    *,
    run: str | None,
    find_who: Callable[[], str],
    reason: str,
) -> tuple[Hold, Approval]:
    """Approve what waits for a person; LocalError when nothing does, or somebody else may."""
    text = " ".join(reason.split())[:REASON_LENGTH]
    workflow, hold = find_hold(api, namespace, name, run)
    who = find_who()
    for mark in REPLACED:
        for value in (who, text):
            if mark in value:
                raise LocalError(
                    f"`{value}` must not contain `{mark}`: Argo or Kubernetes replaces what follows"
                )
    require_approver(who, hold.approvers, f"that {hold.asks}")
    approval = Approval(
        run=hold.run, step=hold.step, who=who, when=format_now(), reason=text, asked=hold.since
    )
    for _ in range(TRIES):
        try:
            if api.end_suspended(namespace, workflow, hold.node, _write_end(approval)) is None:
                raise LocalError(f"workflow `{hold.workflow}` does not exist any more")
        except ConflictError:
            workflow = _read_again(api, namespace, hold)
            continue
        return hold, approval
    raise LocalError(
        f"workflow `{hold.workflow}` is written all the time", hint="try again in a moment"
    )


def _write_end(approval: Approval) -> dict[str, Any]:
    given = {WHO: approval.who, WHEN: approval.when, REASON: approval.reason}
    return {
        "phase": "Succeeded",
        "message": approval.text,
        "finishedAt": approval.when,
        "outputs": {
            "parameters": [{"name": name, "value": value} for name, value in given.items()]
        },
    }


def _read_again(api: KubernetesClient, namespace: str, hold: Hold) -> dict[str, Any]:
    """Return the Workflow as it is now; LocalError when somebody else has ended the wait."""
    workflow = api.get_workflow(namespace, hold.workflow)
    if workflow is not None and any(each.node == hold.node for each in list_holds(workflow)):
        return workflow
    given = [each for each in list_approvals(workflow or {}) if each.step == hold.step]
    how = f" was {given[-1].text} meanwhile" if given else " does not wait for a person any more"
    raise LocalError(f"run `{hold.run}`{how}")
