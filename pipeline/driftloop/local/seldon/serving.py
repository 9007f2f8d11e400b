"""A SeldonDeployment written out as what the operator would make of it, by the function that
`plain` renders with.
"""

from typing import Any

from driftloop.errors import LocalError
from driftloop.local.ground import kinds
from driftloop.resources.serving import plain
from driftloop.spec.serve import PythonServer, Serve


def check_serve(serve: Serve) -> None:
    """LocalError for what can't run here, told before the first model is trained for it."""
    if not isinstance(serve, PythonServer):
        raise LocalError(
            f"spec.serve.server is `{serve.server}`, which only Seldon's operator can run",
            hint="on this machine, load the model in a Python class of your own (`server: python`); for a cluster, "
            "`driftloop commit` takes the spec as it is",
        )
    if serve.graph is not None:
        raise LocalError(
            "spec.serve.graph is a graph, which only Seldon's executor can walk",
            hint="on this machine, try the released model without `graph`; for a cluster, `driftloop commit` takes the "
            "spec as it is",
        )


def expand_object(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that run for one object: itself, except for a SeldonDeployment; PipelineError
    otherwise.
    """
    if kinds.object_kind(item) != ("machinelearning.seldon.io", "SeldonDeployment"):
        return [item]
    return [
        found.dump_object()
        for found in plain.unroll_deployment(plain.parse_deployment(item)).objects
    ]
