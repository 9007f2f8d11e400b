"""Workflow variables: what each place of a Workflow may name between `{{` and `}}`, and the artifacts `from` may name.

Everything here is computed from objects and from nodes that are over; `Locate` alone knows where artifacts are stored.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from driftloop.clients.s3 import Location
from driftloop.local.argo.nodes import Node, Outputs
from driftloop.local.argo.parts import NotUnderstoodError, read
from driftloop.local.argo_workflows import merge, tags
from driftloop.local.argo_workflows.model import Arguments, Artifact, Parameter, Template, WorkflowSpec

_FROM = re.compile(r"\{\{\s*(.+?)\s*\}\}")

Templates = Mapping[str, Template]
"""A Workflow's templates by name."""

Nodes = Mapping[str, Node]
"""Nodes by the name of the task they are of."""

Artifacts = Mapping[str, Location | None]
"""What `from` can name; None for an output of a task that did not run."""

Locate = Callable[[str, str | None, tags.Scope], Location]
"""(artifact's name, its key or None, scope) -> where it is stored."""


@dataclass(frozen=True)
class View:
    """What a task sees: tags, the artifacts `from` can name, and the prefixes of outputs that are absent.

    An output is absent, and its artifact None, when the task it comes from did not run.
    """

    scope: tags.Scope
    artifacts: Artifacts = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Call:
    """Argument values of one call."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Location] = field(default_factory=dict)


def of_workflow(metadata: Mapping[str, Any], spec: WorkflowSpec) -> dict[str, str]:
    """`workflow.…`, known everywhere. NotUnderstoodError for parameters without a value."""
    what = f"workflow {metadata['name']}"
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
        scope |= {f"workflow.{kind}.{key}": value for key, value in (metadata.get(kind) or {}).items()}
    scheduled = (metadata.get("annotations") or {}).get("workflows.argoproj.io/scheduled-time")
    if scheduled is not None:
        scope["workflow.scheduledTime"] = scheduled
    filled = read(Arguments, tags.fill_known(spec.arguments.raw(), scope), what=what)
    if filled.artifacts:
        raise NotUnderstoodError(f"{what}: arguments.artifacts is not understood by the local runtime")
    values = merge.parameters(filled, what)
    scope |= {f"workflow.parameters.{name}": value for name, value in values.items()}
    scope["workflow.parameters"] = _named(values)
    return scope


def of_tasks(nodes: Nodes, templates: Templates, every: Nodes) -> tuple[dict[str, str], frozenset[str]]:
    """`tasks.…` of tasks that are over, and the prefixes of outputs that are absent since their task did not run.

    `every` finds the items of a loop by their id.
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
        scope |= {f"{prefix}.outputs.parameters.{name}": value for name, value in values.items()}
        if node.type == "TaskGroup":
            items = [every[child] for child in node.children]
            scope[f"{prefix}.outputs.parameters"] = json.dumps(
                [item.outputs.parameters for item in items if item.phase == "Succeeded"]
            )
    return scope, frozenset(absent)


def artifacts(nodes: Nodes, templates: Templates, inputs: Mapping[str, Location]) -> dict[str, Location | None]:
    """The input artifacts of a dag's template and the outputs of its tasks that are over."""
    found: dict[str, Location | None] = {f"inputs.artifacts.{name}": at for name, at in inputs.items()}
    for task, node in nodes.items():
        for artifact in templates[node.template].outputs.artifacts:
            found[f"tasks.{task}.outputs.artifacts.{artifact.name}"] = node.outputs.artifacts.get(artifact.name)
    return found


def bound(arguments: Arguments, view: View, locate: Locate) -> Call:
    """Arguments with their tags filled in. A parameter made from an absent output is left out."""
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
    places: dict[str, Location] = {}
    for artifact in arguments.artifacts:
        if artifact.from_ is not None:
            at = _from(artifact, view.artifacts)
            if at is not None:
                places[artifact.name] = at
        elif artifact.s3 is not None:
            places[artifact.name] = locate(artifact.name, tags.fill_text(artifact.s3.key, view.scope), view.scope)
        else:
            raise NotUnderstoodError(f"artifact argument `{artifact.name}` has neither from nor s3")
    return Call(values, places)


def inside(
    template: Template, call: Call, workflow: tags.Scope, locate: Locate
) -> tuple[dict[str, str], dict[str, Location]]:
    """The scope inside a template, and where its input artifacts are stored."""
    what = f"template {template.name}"
    scope = dict(workflow)
    values: dict[str, str] = {}
    for parameter in template.inputs.parameters:
        given = call.parameters.get(parameter.name)
        if given is None:
            own = read(Parameter, tags.fill(parameter.raw(), scope), what=what)
        else:
            own = parameter.model_copy(update={"value": given})
        values[parameter.name] = merge.value_of(own, what)
    scope |= {f"inputs.parameters.{name}": value for name, value in values.items()}
    scope["inputs.parameters"] = _named(values)
    places: dict[str, Location] = {}
    for artifact in template.inputs.artifacts:
        scope[f"inputs.artifacts.{artifact.name}.path"] = artifact.path or ""
        if artifact.name in call.artifacts:
            places[artifact.name] = call.artifacts[artifact.name]
        elif artifact.s3 is not None:
            places[artifact.name] = locate(artifact.name, tags.fill_text(artifact.s3.key, scope), scope)
        elif not artifact.optional:
            raise NotUnderstoodError(f"{what}: input artifact `{artifact.name}` was not given")
    for artifact in template.outputs.artifacts:
        scope[f"outputs.artifacts.{artifact.name}.path"] = artifact.path or ""
    for parameter in template.outputs.parameters:
        if parameter.value_from is not None and parameter.value_from.path is not None:
            scope[f"outputs.parameters.{parameter.name}.path"] = parameter.value_from.path
    return scope, places


def inputs_of(template: Template, scope: tags.Scope) -> dict[str, str]:
    """A template's input parameters by name, from the scope inside it."""
    return {parameter.name: scope[f"inputs.parameters.{parameter.name}"] for parameter in template.inputs.parameters}


def dag_outputs(template: Template, view: View) -> Outputs:
    """What a dag gives out of its tasks' outputs."""
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
    places: dict[str, Location] = {}
    for artifact in template.outputs.artifacts:
        named = _FROM.fullmatch((artifact.from_ or "").strip())
        at = view.artifacts.get(named[1]) if named else None
        if at is not None:
            places[artifact.name] = at
        elif not artifact.optional:
            raise NotUnderstoodError(f"dag output artifact `{artifact.name}`: failed to resolve {artifact.from_}")
    return Outputs(values, places)


def _from(artifact: Artifact, known: Artifacts) -> Location | None:
    named = _FROM.fullmatch((artifact.from_ or "").strip())
    if named is None or named[1] not in known:
        raise NotUnderstoodError(f"artifact `{artifact.name}`: failed to resolve {artifact.from_}")
    return known[named[1]]


def _named(values: Mapping[str, str]) -> str:
    """All parameters as Argo writes them into one text."""
    return json.dumps([{"name": name, "value": value} for name, value in values.items()])
