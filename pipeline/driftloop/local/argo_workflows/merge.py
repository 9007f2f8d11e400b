"""Merge of a Workflow and the template it refers to, as Argo's controller does before a run."""

from collections.abc import Callable, Mapping
from typing import Any

from driftloop.local.argo import expressions
from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo_workflows.model import (
    Arguments,
    Parameter,
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

    It has the Workflow's own fields over its template's, arguments by name, and templateDefaults
    filled in. NotUnderstoodError when the template is missing or a field of the result is not
    understood; `label` is the object's name in its message.
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
    defaults = spec.pop("templateDefaults", None) if "templateDefaults" in spec else None
    if defaults:
        spec["templates"] = [
            _apply_defaults(template, defaults) for template in spec.get("templates") or []
        ]
    spec = {key: value for key, value in spec.items() if key not in WorkflowSpec.ACCEPTED}
    understood = read_part(WorkflowSpec, spec, label=label)
    _check_references(understood, label)
    return spec


def read_parameters(arguments: Arguments, label: str) -> dict[str, str]:
    """Return the workflow's parameters.

    NotUnderstoodError for one without a value, or with a value that `enum` does not allow.
    """
    return {parameter.name: value_of(parameter, label) for parameter in arguments.parameters}


def value_of(parameter: Parameter, label: str) -> str:
    """Return a parameter's value or default. NotUnderstoodError."""
    value = parameter.value if parameter.value is not None else parameter.default
    if value is None:
        raise NotUnderstoodError(
            f"{label}: parameter `{parameter.name}` has no value", hint="set a default"
        )
    if parameter.enum is not None and value not in parameter.enum:
        raise NotUnderstoodError(
            f"{label}: parameter `{parameter.name}` is `{value[:60]}`, must be one of {', '.join(parameter.enum)}"
        )
    return value


def add_labels(metadata: dict[str, Any], extra: WorkflowMetadata) -> None:
    """Add the labels and annotations that every run gets; the Workflow's own win."""
    for kind, texts in (("labels", extra.labels), ("annotations", extra.annotations)):
        if texts:
            metadata[kind] = {**texts, **(metadata.get(kind) or {})}


def add_labels_from(
    metadata: dict[str, Any], extra: WorkflowMetadata, scope: Mapping[str, str]
) -> None:
    """Add the labels whose values are expressions over the Workflow's variables."""
    for name, source in extra.labels_from.items():
        expression = expressions.parse(source.expression, expressions.Dialect.TAG)
        value = expressions.evaluate(expression, lambda parts: _look_up_value(parts, scope))
        metadata["labels"] = {**(metadata.get("labels") or {}), name: str(value)}


def _look_up_value(parts: tuple[str, ...], scope: Mapping[str, str]) -> str:
    name = ".".join(parts)
    if name not in scope:
        raise NotUnderstoodError(f"workflowMetadata.labelsFrom: `{name}` is not defined")
    return scope[name]


def _merge_arguments(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for kind in ("parameters", "artifacts"):
        named = {item["name"]: item for item in base.get(kind) or []}
        for item in own.get(kind) or []:
            named[item["name"]] = {**named.get(item["name"], {}), **item}
        if named:
            result[kind] = list(named.values())
    return result


def _apply_defaults(template: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template over the defaults; those for a container apply to container templates."""
    ignored = set() if "container" in template else {"container"}
    if "dag" in template:
        ignored |= {"timeout", "activeDeadlineSeconds"}
    usable = {key: value for key, value in defaults.items() if key not in ignored}
    return _merge_over(usable, template)


def _merge_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = _merge_over(below, value)
        else:
            result[key] = value
    return result


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
