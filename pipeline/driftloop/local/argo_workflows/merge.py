"""A Workflow and the template it refers to, made one spec, as Argo's controller does before it runs anything."""

from collections.abc import Callable, Mapping
from typing import Any

from driftloop.local.argo import expressions
from driftloop.local.argo.parts import NotUnderstoodError, read
from driftloop.local.argo_workflows.model import Arguments, Parameter, WorkflowMetadata, WorkflowSpec

FindTemplate = Callable[[str, str], "dict[str, Any] | None"]
"""(namespace, name) -> the applied WorkflowTemplate."""


def merged(workflow: Mapping[str, Any], find: FindTemplate, *, label: str | None = None) -> dict[str, Any]:
    """The spec a Workflow runs: its own fields over its template's, arguments by name, templateDefaults filled in.

    NotUnderstoodError when the template is missing or anything in the result is not understood; `label` is what its
    message calls the object.
    """
    metadata = workflow["metadata"]
    own = dict(workflow.get("spec") or {})
    what = label or f"workflow {metadata['name']}"
    reference = own.pop("workflowTemplateRef", None)
    spec = own
    if reference is not None:
        if set(reference) - {"name"}:
            raise NotUnderstoodError(f"{what}: workflowTemplateRef takes only `name` in the local runtime")
        template = find(metadata["namespace"], reference["name"])
        if template is None:
            raise NotUnderstoodError(
                f"{what}: workflow template {reference['name']} not found in namespace {metadata['namespace']}",
                hint="is it committed, and applied?",
            )
        base = template.get("spec") or {}
        spec = {**base, **own}
        spec["arguments"] = _arguments(base.get("arguments") or {}, own.get("arguments") or {})
        what = f"workflow template {reference['name']}"
    defaults = spec.pop("templateDefaults", None) if "templateDefaults" in spec else None
    if defaults:
        spec["templates"] = [_with_defaults(template, defaults) for template in spec.get("templates") or []]
    spec = {key: value for key, value in spec.items() if key not in WorkflowSpec.ACCEPTED}
    understood = read(WorkflowSpec, spec, what=what)
    _check(understood, what)
    return spec


def parameters(arguments: Arguments, what: str) -> dict[str, str]:
    """The workflow's parameters; NotUnderstoodError for one without a value, or with one that `enum` does not allow."""
    return {parameter.name: value_of(parameter, what) for parameter in arguments.parameters}


def value_of(parameter: Parameter, what: str) -> str:
    """A parameter's value or default."""
    value = parameter.value if parameter.value is not None else parameter.default
    if value is None:
        raise NotUnderstoodError(f"{what}: parameter `{parameter.name}` has no value", hint="give it a default")
    if parameter.enum is not None and value not in parameter.enum:
        raise NotUnderstoodError(
            f"{what}: parameter `{parameter.name}` is `{value[:60]}`, must be one of {', '.join(parameter.enum)}"
        )
    return value


def label(metadata: dict[str, Any], given: WorkflowMetadata) -> None:
    """Add the labels and annotations that every run gets; its own come first."""
    for kind, texts in (("labels", given.labels), ("annotations", given.annotations)):
        if texts:
            metadata[kind] = {**texts, **(metadata.get(kind) or {})}


def label_from(metadata: dict[str, Any], given: WorkflowMetadata, known: Mapping[str, str]) -> None:
    """Add the labels whose values are expressions over what is known of the Workflow."""
    for name, source in given.labels_from.items():
        value = expressions.evaluate(
            expressions.parse(source.expression, expressions.Dialect.TAG), lambda parts: _known(parts, known)
        )
        metadata["labels"] = {**(metadata.get("labels") or {}), name: str(value)}


def _known(parts: tuple[str, ...], known: Mapping[str, str]) -> str:
    name = ".".join(parts)
    if name not in known:
        raise NotUnderstoodError(f"workflowMetadata.labelsFrom: `{name}` is not known")
    return known[name]


def _arguments(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for kind in ("parameters", "artifacts"):
        named = {item["name"]: item for item in base.get(kind) or []}
        for item in own.get(kind) or []:
            named[item["name"]] = {**named.get(item["name"], {}), **item}
        if named:
            result[kind] = list(named.values())
    return result


def _with_defaults(template: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A template over the defaults; those for a container only count for container templates."""
    usable = {key: value for key, value in defaults.items() if key != "container" or "container" in template}
    if "dag" in template:
        usable = {key: value for key, value in usable.items() if key not in ("timeout", "activeDeadlineSeconds")}
    return _over(usable, template)


def _over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        result[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _check(spec: WorkflowSpec, what: str) -> None:
    """References between templates."""
    names = [template.name for template in spec.templates]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise NotUnderstoodError(f"{what}: template `{doubled.pop()}` is defined twice")
    if spec.entrypoint is None:
        raise NotUnderstoodError(f"{what}: no entrypoint")
    wanted = {"entrypoint": spec.entrypoint}
    if spec.on_exit:
        wanted["onExit"] = spec.on_exit
    for template in spec.templates:
        for task in template.dag.tasks if template.dag else []:
            wanted[f"task {template.name}.{task.name}"] = task.template
    for place, name in wanted.items():
        if name not in names:
            raise NotUnderstoodError(f"{what}: {place} refers to template `{name}`, which does not exist")
