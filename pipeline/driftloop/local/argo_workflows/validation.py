"""Refusals of WorkflowTemplates and CronWorkflows, before a commit that holds them is applied."""

from collections.abc import Mapping
from typing import Any

from driftloop.contract.platform import KUBERNETES_URL
from driftloop.local.argo import expressions
from driftloop.local.argo.expressions import ExpressionError
from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo_workflows import dag, merge, retries, schedules, tags
from driftloop.local.argo_workflows.model import Template, WorkflowSpec
from driftloop.local.ground import kinds
from driftloop.local.kubelet.ports import require_told


def validate_workflow_template(manifest: Mapping[str, Any]) -> None:
    """Raise NotUnderstoodError, which names every field that no step here would follow."""
    label, metadata = kinds.format_object(manifest), manifest["metadata"]
    workflow = {"metadata": {"namespace": "", **metadata}, "spec": manifest.get("spec") or {}}
    merged = merge.merge_template(workflow, lambda _namespace, _name: None, label=label)
    spec = read_part(WorkflowSpec, merged, label=label, path="spec")
    tags.require_supported(merged, label)
    try:
        for source in spec.workflow_metadata.labels_from.values():
            expressions.parse(source.expression)
        for template in spec.templates:
            _validate_template(template)
            _require_token(template, spec)
    except (ExpressionError, NotUnderstoodError) as error:
        raise NotUnderstoodError(f"{label}: {error.message}", hint=error.hint) from error
    for template in spec.templates:
        _require_told_ports(label, template)


def _validate_template(template: Template) -> None:
    if template.retry_strategy is not None and template.retry_strategy.expression is not None:
        retries.parse_expression(template.retry_strategy.expression)
    if template.dag is not None:
        dag.plan_dag(template.dag.tasks)
        for task in template.dag.tasks:
            if task.when is not None:
                expressions.parse_when(task.when)


def _require_token(template: Template, spec: WorkflowSpec) -> None:
    """Raise NotUnderstoodError for a step that calls the API server, and in a cluster has no
    token: here it would get through."""
    own = template.automount_service_account_token
    if own or (own is None and spec.automount_service_account_token):
        return
    for container in (*([template.container] if template.container else []), *template.sidecars):
        if any(entry.name == KUBERNETES_URL.environment for entry in container.env):
            raise NotUnderstoodError(
                f"template {template.name} has `{KUBERNETES_URL.environment}`, and its pod no token",
                hint="set `automountServiceAccountToken: true` on the template, and an account "
                "with what the step may do",
            )


def _require_told_ports(label: str, template: Template) -> None:
    for sidecar in template.sidecars:
        variables = {entry.name: entry.value for entry in sidecar.env}
        for port in sidecar.ports:
            where = f"{label}: template {template.name}, sidecar {sidecar.name}"
            program = ([*sidecar.command, *sidecar.args], variables)
            require_told(where, port.container_port, [program])


def validate_cron_workflow(manifest: Mapping[str, Any]) -> None:
    """Raise NotUnderstoodError for a schedule that is never due, or a field that is not followed
    here."""
    schedules.read_cron_workflow(manifest)
    read_part(
        WorkflowSpec,
        manifest["spec"]["workflowSpec"],
        label=kinds.format_object(manifest),
        path="spec.workflowSpec",
    )
