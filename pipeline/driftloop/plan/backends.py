"""Limits of the serving back ends: what a spec may ask of each, and what its pods run besides
the model."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, assert_never

from driftloop.spec.serve import (
    MlflowServer,
    PythonServer,
    Serve,
    SklearnServer,
    TensorflowServer,
    TritonServer,
    XgboostServer,
)

PodStandard = Literal["baseline", "restricted"]


@dataclass(frozen=True)
class BackendLimits:
    """Limits of one serving back end."""

    runs_prepackaged: bool
    """Runs the servers that Seldon's operator brings along."""
    runs_graphs: bool
    """Runs nodes around the released model."""
    slowest: timedelta | None
    """Last bound of its histogram of answer times; None when it has bounds beyond any timeout."""
    runs_logger: bool
    """Runs the platform's request logger beside the model."""
    names_routes: bool
    """Writes the gateway's routes itself, so that their names can say more."""
    pod_standard: PodStandard
    """Pod Security Standard that all of its pods keep, and that the namespace enforces."""


_SELDON = BackendLimits(
    runs_prepackaged=True,
    runs_graphs=True,
    # the executor's last bucket
    slowest=timedelta(seconds=10),
    runs_logger=False,
    names_routes=False,
    # Its operator (1.17.1, `seldondeployment_engine.go`) gives its executor a securityContext that keeps
    # capabilities, and a spec can't change it.
    pod_standard="baseline",
)
_PLAIN = BackendLimits(
    runs_prepackaged=False,
    runs_graphs=False,
    slowest=None,
    runs_logger=True,
    names_routes=True,
    pod_standard="restricted",
)


def backend_limits(serve: Serve) -> BackendLimits:
    """Return the limits of the back end that a spec chooses."""
    match serve.backend:
        case "seldon":
            return _SELDON
        case "plain":
            return _PLAIN
        case _:
            assert_never(serve.backend)


def is_prepackaged(serve: Serve) -> bool:
    """Return True for a server that Seldon's operator brings along, False for a class of the
    user's."""
    match serve:
        case PythonServer():
            return False
        case (
            SklearnServer() | XgboostServer() | MlflowServer() | TensorflowServer() | TritonServer()
        ):
            return True
        case _:
            assert_never(serve)


def can_rehearse(serve: Serve) -> bool:
    """Return True for a server whose image and command the spec names, so that a step can start
    it."""
    return not is_prepackaged(serve) and serve.graph is None
