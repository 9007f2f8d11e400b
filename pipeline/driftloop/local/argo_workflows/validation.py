"""Refusals of WorkflowTemplates and CronWorkflows, before a commit that holds them is applied."""

from collections.abc import Mapping
from typing import Any

from driftloop.local.argo.parts import read_part
from driftloop.local.argo_workflows import dag, merge, schedules
from driftloop.local.argo_workflows.model import Template, WorkflowSpec
from driftloop.local.ground import kinds
from driftloop.local.kubelet.ports import require_told


def validate_workflow_template(manifest: Mapping[str, Any]) -> None:
    """Raise NotUnderstoodError, which names every field that no step here would follow."""
    metadata = manifest["metadata"]
    workflow = {"metadata": {"namespace": "", **metadata}, "spec": manifest.get("spec") or {}}
    spec = merge.merge_template(
        workflow, lambda _namespace, _name: None, label=kinds.format_object(manifest)
    )
    for template in read_part(WorkflowSpec, spec, label=kinds.format_object(manifest)).templates:
        if template.dag is not None:
            dag.plan_dag(template.dag.tasks)
        _require_told_ports(kinds.format_object(manifest), template)


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
    spec = manifest["spec"]["workflowSpec"]
    inner = {key: value for key, value in spec.items() if key != "templateDefaults"}
    read_part(WorkflowSpec, inner, label=f"{kinds.format_object(manifest)}: workflowSpec")
