"""Whether the stand-in understands an object, before a commit that holds it is applied."""

from collections.abc import Mapping
from typing import Any

from driftloop.local.argo.parts import read
from driftloop.local.argo_events import sensor
from driftloop.local.argo_events.eventing import EventSourceSpec, SensorSpec
from driftloop.local.argo_workflows import cron, dag, merge
from driftloop.local.argo_workflows.model import WorkflowSpec

KINDS = ("WorkflowTemplate", "CronWorkflow", "EventSource", "Sensor")
"""The kinds that are acted on here."""


def check(manifest: Mapping[str, Any]) -> None:
    """NotUnderstoodError names what is at fault in an object of one of the KINDS; other kinds pass."""
    metadata = manifest["metadata"]
    what = f"{manifest['kind']} {metadata.get('namespace', 'default')}/{metadata['name']}"
    spec = manifest.get("spec") or {}
    match manifest["kind"]:
        case "WorkflowTemplate":
            whole = merge.merged({"metadata": {"namespace": "", **metadata}, "spec": spec}, lambda _, __: None)
            for template in read(WorkflowSpec, whole, what=what).templates:
                if template.dag is not None:
                    dag.plan(template.dag.tasks)
        case "CronWorkflow":
            cron.understood(dict(manifest))
            inner = {key: value for key, value in spec["workflowSpec"].items() if key != "templateDefaults"}
            read(WorkflowSpec, inner, what=f"{what}: workflowSpec")
        case "EventSource":
            read(EventSourceSpec, spec, what=what)
        case "Sensor":
            sensor.check(read(SensorSpec, spec, what=what), what)
