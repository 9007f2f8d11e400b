"""Loops: the items of a task (`withItems`, `withParam`), what each one sees, and what comes of them together."""

import json
from collections.abc import Sequence
from typing import Any

from driftloop.local.argo.nodes import Node, Outputs, Phase, first_message
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_workflows import dag, tags
from driftloop.local.argo_workflows.model import Task


def items(task: Task, scope: tags.Scope) -> list[Any] | None:
    """The items with their tags filled in; None when the task is no loop. NotUnderstoodError."""
    if task.with_items is not None:
        filled: list[Any] = tags.fill(task.with_items, scope)
        return filled
    if task.with_param is None:
        return None
    text = tags.fill_text(task.with_param, scope)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NotUnderstoodError(f"withParam `{text[:80]}` is not JSON: {error}") from error
    if not isinstance(found, list):
        raise NotUnderstoodError(f"withParam `{text[:80]}` must be a JSON list")
    return found


def label(index: int, item: Any) -> str:
    """What an item's node is called after its task: `(0:red)`, `(1:depth:3,rate:0.1)`."""
    if isinstance(item, dict):
        return f"({index}:{','.join(f'{key}:{_text(item[key])}' for key in sorted(item))})"
    return f"({index}:{_text(item)})"


def scope(item: Any) -> dict[str, str]:
    """`item`, and `item.<key>` of an object."""
    if isinstance(item, dict):
        return {"item": json.dumps(item), **{f"item.{key}": _text(value) for key, value in item.items()}}
    return {"item": _text(item)}


def outcome(children: Sequence[Node]) -> tuple[Phase, str, Outputs]:
    """The whole loop's phase, message and outputs: each parameter is the JSON list of those items that succeeded."""
    done = [child for child in children if child.phase == "Succeeded"]
    names = dict.fromkeys(parameter for child in done for parameter in child.outputs.parameters)
    values = {n: json.dumps([c.outputs.parameters[n] for c in done if n in c.outputs.parameters]) for n in names}
    return dag.worst([child.phase for child in children]), first_message(children), Outputs(values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
