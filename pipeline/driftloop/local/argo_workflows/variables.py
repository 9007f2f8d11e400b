"""Workflow variables: tags in scope at each place of a Workflow, and artifacts that `from` may
name.

They are computed from objects and from nodes that ended; only `Locate` knows the place of an
artifact.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.clients.s3 import StoreLocation
from driftloop.local.argo.nodes import Node
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_workflows import merge, tags
from driftloop.local.argo_workflows.model import (
    Arguments,
    ArtifactArgument,
    Template,
    WorkflowSpec,
)

_FROM = re.compile(r"\{\{\s*(.+?)\s*\}\}")

Templates = Mapping[str, Template]
"""A Workflow's templates by name."""

Nodes = Mapping[str, Node]
"""Nodes by the name of the task they are of."""

Artifacts = Mapping[str, StoreLocation]
"""Artifacts that `from` can name."""

Locate = Callable[[str], StoreLocation]
"""Key of an artifact -> its place."""


@dataclass(frozen=True)
class View:
    """Names that a task may use: tags and artifacts."""

    scope: tags.Scope
    artifacts: Artifacts = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """Argument values of one call."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, StoreLocation] = field(default_factory=dict)


def of_workflow(metadata: Mapping[str, Any], spec: WorkflowSpec) -> dict[str, str]:
    """Return `workflow.…`, in scope everywhere. NotUnderstoodError for a parameter without
    value."""
    name = metadata["name"]
    values = merge.read_parameters(spec.arguments, f"workflow {name}")
    parameters = {f"workflow.parameters.{key}": value for key, value in values.items()}
    return {"workflow.name": name, **parameters}


def of_tasks(nodes: Nodes, every: Nodes) -> dict[str, str]:
    """Return `tasks.…` of tasks that ended. `every` has the items of a loop by their id."""
    scope: dict[str, str] = {}
    for task, node in nodes.items():
        outputs = f"tasks.{task}.outputs.parameters"
        values = node.outputs.parameters
        scope |= {f"{outputs}.{name}": value for name, value in values.items()}
        if node.type == "TaskGroup":
            items = [every[child] for child in node.children]
            scope[outputs] = json.dumps(
                [item.outputs.parameters for item in items if item.phase == "Succeeded"]
            )
    return scope


def artifacts(nodes: Nodes) -> dict[str, StoreLocation]:
    """Return the output artifacts of a dag's tasks that ended."""
    return {
        f"tasks.{task}.outputs.artifacts.{name}": at
        for task, node in nodes.items()
        for name, at in node.outputs.artifacts.items()
    }


def bound(arguments: Arguments, view: View) -> Call:
    """Return the arguments with their tags filled in."""
    values: dict[str, str] = {}
    for parameter in arguments.parameters:
        if parameter.value is None:
            raise NotUnderstoodError(f"argument `{parameter.name}` has no value")
        values[parameter.name] = tags.fill_text(parameter.value, view.scope)
    places = {artifact.name: _from(artifact, view.artifacts) for artifact in arguments.artifacts}
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
    for parameter in template.inputs.parameters:
        if parameter.name not in call.parameters:
            raise NotUnderstoodError(
                f"{label}: parameter `{parameter.name}` has no value",
                hint="pass it in the task's arguments",
            )
        scope[f"inputs.parameters.{parameter.name}"] = call.parameters[parameter.name]
    places: dict[str, StoreLocation] = {}
    for artifact in template.inputs.artifacts:
        if artifact.name in call.artifacts:
            places[artifact.name] = call.artifacts[artifact.name]
        elif artifact.s3 is not None:
            places[artifact.name] = locate(tags.fill_text(artifact.s3.key, scope))
        elif not artifact.optional:
            raise NotUnderstoodError(f"{label}: input artifact `{artifact.name}` is missing")
    return scope, places


def inputs_of(template: Template, scope: tags.Scope) -> dict[str, str]:
    """Return a template's input parameters by name, from the scope inside it."""
    names = [parameter.name for parameter in template.inputs.parameters]
    return {name: scope[f"inputs.parameters.{name}"] for name in names}


def _from(artifact: ArtifactArgument, places: Artifacts) -> StoreLocation:
    named = _FROM.fullmatch(artifact.from_.strip())
    if named is None or named[1] not in places:
        raise NotUnderstoodError(f"artifact `{artifact.name}`: failed to resolve {artifact.from_}")
    return places[named[1]]
