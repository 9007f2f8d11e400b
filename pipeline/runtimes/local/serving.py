"""A SeldonDeployment written out as what the operator would make of it, by the function that `plain` renders with."""

from typing import Any

from pipeline.resources import plain
from pipeline.runtimes.local import kinds


def expanded(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that run for one object: itself, except for a SeldonDeployment; PipelineError otherwise."""
    if kinds.key(item) != ("machinelearning.seldon.io", "SeldonDeployment"):
        return [item]
    return [found.dump() for found in plain.serving(plain.parse(item)).objects]
