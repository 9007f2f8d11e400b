"""Loops: the items of a task (`withItems`), their tags, and their joint outcome."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from driftloop.local.argo.nodes import Node, Outputs, Phase, first_message
from driftloop.local.argo_workflows import dag


def label(index: int, item: Mapping[str, Any]) -> str:
    """Return the suffix of an item's node: `(1:depth:3,rate:0.1)`."""
    fields = ",".join(f"{key}:{_text(item[key])}" for key in sorted(item))
    return f"({index}:{fields})"


def scope(item: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of an item: `item.<key>`."""
    return {f"item.{key}": _text(value) for key, value in item.items()}


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
