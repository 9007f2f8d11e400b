"""Merge of a Workflow and the template it refers to, as Argo's controller does before a run."""

from collections.abc import Callable, Mapping
from typing import Any

from driftloop.local.argo import expressions
from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo_workflows.model import (
    WorkflowArguments,
    WorkflowMetadata,
    WorkflowSpec,
)

FindTemplate = Callable[[str, str], "dict[str, Any] | None"]
"""(namespace, name) -> the applied WorkflowTemplate."""


def merge_template(
    workflow: Mapping[str, Any],
    find: FindTemplate,
    *,
    label: str | None = None,
) -> dict[str, Any]:
    """Return the spec that a Workflow runs.

    It has the Workflow's own fields over its template's, and arguments by name.
    NotUnderstoodError when the template is missing or a field of the result is not understood;
    `label` is the object's name in its message.
    """
    metadata = workflow["metadata"]
    own = dict(workflow.get("spec") or {})
    label = label or f"workflow {metadata['name']}"
    reference = own.pop("workflowTemplateRef", None)
    spec = own
    if reference is not None:
        if set(reference) - {"name"}:
            raise NotUnderstoodError(
                f"{label}: workflowTemplateRef takes only `name` in the local runtime"
            )
        namespace = metadata["namespace"]
        template = find(namespace, reference["name"])
        if template is None:
            raise NotUnderstoodError(
                f"{label}: workflow template {reference['name']} not found in namespace {namespace}",
                hint="is it committed, and applied?",
            )
        base = template.get("spec") or {}
        spec = {**base, **own}
        spec["arguments"] = _merge_arguments(
            base.get("arguments") or {}, own.get("arguments") or {}
        )
        label = f"workflow template {reference['name']}"
    spec = {key: value for key, value in spec.items() if key not in WorkflowSpec.ACCEPTED}
    understood = read_part(WorkflowSpec, spec, label=label, path="spec")
    _check_references(understood, label)
    return spec


def read_parameters(arguments: WorkflowArguments, label: str) -> dict[str, str]:
    """Return the workflow's parameters. NotUnderstoodError for one without a value."""
    values: dict[str, str] = {}
    for parameter in arguments.parameters:
        if parameter.value is None:
            raise NotUnderstoodError(
                f"{label}: parameter `{parameter.name}` has no value", hint="set one"
            )
        values[parameter.name] = parameter.value
    return values


def add_labels(metadata: dict[str, Any], extra: WorkflowMetadata) -> None:
    """Add the labels that every run gets; the Workflow's own win."""
    if extra.labels:
        metadata["labels"] = {**extra.labels, **(metadata.get("labels") or {})}


def add_labels_from(
    metadata: dict[str, Any], extra: WorkflowMetadata, scope: Mapping[str, str]
) -> None:
    """Add the labels whose values are expressions over the Workflow's variables."""
    for name, source in extra.labels_from.items():
        expression = expressions.parse(source.expression)
        value = expressions.evaluate(expression, lambda parts: _look_up_value(parts, scope))
        metadata["labels"] = {**(metadata.get("labels") or {}), name: str(value)}


def _look_up_value(parts: tuple[str, ...], scope: Mapping[str, str]) -> str:
    name = ".".join(parts)
    if name not in scope:
        raise NotUnderstoodError(f"workflowMetadata.labelsFrom: `{name}` is not defined")
    return scope[name]


def _merge_arguments(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    named = {item["name"]: item for item in base.get("parameters") or []}
    for item in own.get("parameters") or []:
        named[item["name"]] = {**named.get(item["name"], {}), **item}
    return {"parameters": list(named.values())} if named else {}


def _check_references(spec: WorkflowSpec, label: str) -> None:
    """Raise NotUnderstoodError for a reference to a template that does not exist."""
    names = [template.name for template in spec.templates]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise NotUnderstoodError(f"{label}: template `{doubled.pop()}` appears twice")
    if spec.entrypoint is None:
        raise NotUnderstoodError(f"{label}: no entrypoint")
    references = {"entrypoint": spec.entrypoint}
    if spec.on_exit:
        references["onExit"] = spec.on_exit
    for template in spec.templates:
        for task in template.dag.tasks if template.dag else []:
            references[f"task {template.name}.{task.name}"] = task.template
    for place, name in references.items():
        if name not in names:
            raise NotUnderstoodError(
                f"{label}: {place} refers to template `{name}`, which does not exist"
            )
