"""Workflow variables: tags in scope at each place of a Workflow, and artifacts that `from` may
name.

They are computed from objects and from nodes that ended; only `Locate` knows the place of an
artifact.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from driftloop.clients.s3 import StoreLocation
from driftloop.local.argo.nodes import Node, Outputs
from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo_workflows import merge, tags
from driftloop.local.argo_workflows.model import (
    Arguments,
    Artifact,
    Parameter,
    Template,
    WorkflowSpec,
)

_FROM = re.compile(r"\{\{\s*(.+?)\s*\}\}")

Templates = Mapping[str, Template]
"""A Workflow's templates by name."""

Nodes = Mapping[str, Node]
"""Nodes by the name of the task they are of."""

Artifacts = Mapping[str, StoreLocation | None]
"""Artifacts that `from` can name; None for an output of a task that did not run."""

Locate = Callable[[str, str | None, tags.Scope], StoreLocation]
"""(artifact's name, its key or None, scope) -> its place."""


@dataclass(frozen=True)
class View:
    """Names that a task may use: tags, artifacts, and the prefixes of outputs that are absent.

    An output is absent, and its artifact None, when the task it comes from did not run.
    """

    scope: tags.Scope
    artifacts: Artifacts = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Call:
    """Argument values of one call."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, StoreLocation] = field(default_factory=dict)


def of_workflow(metadata: Mapping[str, Any], spec: WorkflowSpec) -> dict[str, str]:
    """Return `workflow.…`, in scope everywhere. NotUnderstoodError for a parameter without
    value."""
    label = f"workflow {metadata['name']}"
    created = metadata["creationTimestamp"]
    scope = {
        "workflow.name": metadata["name"],
        "workflow.namespace": metadata["namespace"],
        "workflow.uid": metadata["uid"],
        "workflow.serviceAccountName": spec.service_account_name,
        "workflow.mainEntrypoint": spec.entrypoint or "",
        "workflow.creationTimestamp": created,
        "workflow.creationTimestamp.RFC3339": created,
        "workflow.creationTimestamp.s": str(int(datetime.fromisoformat(created).timestamp())),
    }
    for kind in ("labels", "annotations"):
        texts = metadata.get(kind) or {}
        scope |= {f"workflow.{kind}.{key}": value for key, value in texts.items()}
    annotations = metadata.get("annotations") or {}
    scheduled = annotations.get("workflows.argoproj.io/scheduled-time")
    if scheduled is not None:
        scope["workflow.scheduledTime"] = scheduled
    filled = read_part(Arguments, tags.fill_known(spec.arguments.raw(), scope), label=label)
    if filled.artifacts:
        raise NotUnderstoodError(
            f"{label}: arguments.artifacts is not understood by the local runtime"
        )
    values = merge.read_parameters(filled, label)
    scope |= {f"workflow.parameters.{name}": value for name, value in values.items()}
    scope["workflow.parameters"] = _named(values)
    return scope


def of_tasks(
    nodes: Nodes,
    templates: Templates,
    every: Nodes,
) -> tuple[dict[str, str], frozenset[str]]:
    """Return `tasks.…` of tasks that ended, and the prefixes of absent outputs.

    Outputs of a task that did not run are absent. `every` has the items of a loop by their id.
    """
    scope: dict[str, str] = {}
    absent: set[str] = set()
    for task, node in nodes.items():
        prefix = f"tasks.{task}"
        scope |= {
            f"{prefix}.id": node.id,
            f"{prefix}.status": node.phase,
            f"{prefix}.startedAt": node.started,
            f"{prefix}.finishedAt": node.finished or "",
        }
        if node.outputs.exit_code is not None:
            scope[f"{prefix}.exitCode"] = str(node.outputs.exit_code)
        values = dict(node.outputs.parameters)
        if node.phase in ("Skipped", "Omitted"):
            absent.add(f"{prefix}.outputs.")
            for parameter in templates[node.template].outputs.parameters:
                if parameter.value_from is not None and parameter.value_from.default is not None:
                    values[parameter.name] = parameter.value_from.default
        outputs = {f"{prefix}.outputs.parameters.{name}": v for name, v in values.items()}
        scope |= outputs
        if node.type == "TaskGroup":
            items = [every[child] for child in node.children]
            scope[f"{prefix}.outputs.parameters"] = json.dumps(
                [item.outputs.parameters for item in items if item.phase == "Succeeded"]
            )
    return scope, frozenset(absent)


def artifacts(
    nodes: Nodes,
    templates: Templates,
    inputs: Mapping[str, StoreLocation],
) -> dict[str, StoreLocation | None]:
    """Return the input artifacts of a dag's template and the outputs of its tasks that ended."""
    places: dict[str, StoreLocation | None] = {}
    for name, at in inputs.items():
        places[f"inputs.artifacts.{name}"] = at
    for task, node in nodes.items():
        for artifact in templates[node.template].outputs.artifacts:
            at_output = node.outputs.artifacts.get(artifact.name)
            places[f"tasks.{task}.outputs.artifacts.{artifact.name}"] = at_output
    return places


def bound(arguments: Arguments, view: View, locate: Locate) -> Call:
    """Return the arguments with their tags filled in, without parameters from absent outputs."""
    values: dict[str, str] = {}
    for parameter in arguments.parameters:
        if parameter.value is None:
            raise NotUnderstoodError(f"argument `{parameter.name}` has no value")
        try:
            values[parameter.name] = tags.fill_text(parameter.value, view.scope)
        except tags.UnresolvedTagError:
            unknown = tags.tags(parameter.value) - set(view.scope)
            if not unknown or not all(tag.startswith(tuple(view.absent)) for tag in unknown):
                raise
    places: dict[str, StoreLocation] = {}
    for artifact in arguments.artifacts:
        if artifact.from_ is not None:
            at = _from(artifact, view.artifacts)
            if at is not None:
                places[artifact.name] = at
        elif artifact.s3 is not None:
            key = tags.fill_text(artifact.s3.key, view.scope)
            places[artifact.name] = locate(artifact.name, key, view.scope)
        else:
            raise NotUnderstoodError(f"artifact argument `{artifact.name}` has neither from nor s3")
    return Call(values, places)


def inside(
    template: Template,
    call: Call,
    workflow: tags.Scope,
    locate: Locate,
) -> tuple[dict[str, str], dict[str, StoreLocation]]:
    """Return the scope inside a template, and the places of its input artifacts."""
    label = f"template {template.name}"
    scope = dict(workflow)
    values: dict[str, str] = {}
    for parameter in template.inputs.parameters:
        argument = call.parameters.get(parameter.name)
        if argument is None:
            own = read_part(Parameter, tags.fill(parameter.raw(), scope), label=label)
        else:
            own = parameter.model_copy(update={"value": argument})
        values[parameter.name] = merge.value_of(own, label)
    scope |= {f"inputs.parameters.{name}": value for name, value in values.items()}
    scope["inputs.parameters"] = _named(values)
    places: dict[str, StoreLocation] = {}
    for artifact in template.inputs.artifacts:
        scope[f"inputs.artifacts.{artifact.name}.path"] = artifact.path or ""
        if artifact.name in call.artifacts:
            places[artifact.name] = call.artifacts[artifact.name]
        elif artifact.s3 is not None:
            key = tags.fill_text(artifact.s3.key, scope)
            places[artifact.name] = locate(artifact.name, key, scope)
        elif not artifact.optional:
            raise NotUnderstoodError(f"{label}: input artifact `{artifact.name}` is missing")
    for artifact in template.outputs.artifacts:
        scope[f"outputs.artifacts.{artifact.name}.path"] = artifact.path or ""
    for parameter in template.outputs.parameters:
        if parameter.value_from is not None and parameter.value_from.path is not None:
            scope[f"outputs.parameters.{parameter.name}.path"] = parameter.value_from.path
    return scope, places


def inputs_of(template: Template, scope: tags.Scope) -> dict[str, str]:
    """Return a template's input parameters by name, from the scope inside it."""
    names = [parameter.name for parameter in template.inputs.parameters]
    return {name: scope[f"inputs.parameters.{name}"] for name in names}


def dag_outputs(template: Template, view: View) -> Outputs:
    """Return the outputs of a dag, from its tasks' outputs."""
    values: dict[str, str] = {}
    for parameter in template.outputs.parameters:
        source = parameter.value_from
        if source is None or source.parameter is None:
            raise NotUnderstoodError(f"dag output `{parameter.name}` has no valueFrom.parameter")
        try:
            values[parameter.name] = tags.fill_text(source.parameter, view.scope)
        except tags.UnresolvedTagError:
            if source.default is None:
                raise
            values[parameter.name] = source.default
    places: dict[str, StoreLocation] = {}
    for artifact in template.outputs.artifacts:
        named = _FROM.fullmatch((artifact.from_ or "").strip())
        at = view.artifacts.get(named[1]) if named else None
        if at is not None:
            places[artifact.name] = at
        elif not artifact.optional:
            raise NotUnderstoodError(
                f"dag output artifact `{artifact.name}`: failed to resolve {artifact.from_}"
            )
    return Outputs(values, places)


def _from(artifact: Artifact, places: Artifacts) -> StoreLocation | None:
    named = _FROM.fullmatch((artifact.from_ or "").strip())
    if named is None or named[1] not in places:
        raise NotUnderstoodError(f"artifact `{artifact.name}`: failed to resolve {artifact.from_}")
    return places[named[1]]


def _named(values: Mapping[str, str]) -> str:
    """Return all parameters as Argo writes them into one text."""
    return json.dumps([{"name": name, "value": value} for name, value in values.items()])
