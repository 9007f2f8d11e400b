"""Loops: the items of a task (`withItems`, `withParam`), their tags, and their joint outcome."""

import json
from collections.abc import Sequence
from typing import Any

from driftloop.local.argo.nodes import Node, Outputs, Phase, first_message
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_workflows import dag, tags
from driftloop.local.argo_workflows.model import Task


def items(task: Task, scope: tags.Scope) -> list[Any] | None:
    """Return the items with their tags filled in; None without a loop. NotUnderstoodError."""
    if task.with_items is not None:
        filled: list[Any] = tags.fill(task.with_items, scope)
        return filled
    if task.with_param is None:
        return None
    text = tags.fill_text(task.with_param, scope)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise NotUnderstoodError(f"withParam `{text[:80]}` is not JSON: {error}") from error
    if not isinstance(values, list):
        raise NotUnderstoodError(f"withParam `{text[:80]}` must be a JSON list")
    return values


def label(index: int, item: Any) -> str:
    """Return the suffix of an item's node: `(0:red)`, `(1:depth:3,rate:0.1)`."""
    if isinstance(item, dict):
        fields = ",".join(f"{key}:{_text(item[key])}" for key in sorted(item))
        return f"({index}:{fields})"
    return f"({index}:{_text(item)})"


def scope(item: Any) -> dict[str, str]:
    """Return the tags of an item: `item`, and `item.<key>` of an object."""
    if isinstance(item, dict):
        fields = {f"item.{key}": _text(value) for key, value in item.items()}
        return {"item": json.dumps(item), **fields}
    return {"item": _text(item)}


def outcome(children: Sequence[Node]) -> tuple[Phase, str, Outputs]:
    """Return the loop's phase, message and outputs.

    Each parameter is the JSON list of the values of the items that succeeded.
    """
    done = [child for child in children if child.phase == "Succeeded"]
    names = dict.fromkeys(parameter for child in done for parameter in child.outputs.parameters)
    outputs = [child.outputs.parameters for child in done]
    values = {n: json.dumps([each[n] for each in outputs if n in each]) for n in names}
    phase = dag.worst([child.phase for child in children])
    return phase, first_message(children), Outputs(values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
