"""Serving of a release: one module for each back end, which ends with its record."""

from typing import assert_never

from driftloop.kube import policy
from driftloop.kube.base import LabelSelector
from driftloop.plan import Plan
from driftloop.release.record import Version
from driftloop.resources import parts
from driftloop.resources.serving import plain, seldon
from driftloop.resources.serving.backend import Backend


def serving_backend(plan: Plan) -> Backend:
    """Return the back end that the spec chooses."""
    match plan.serve.backend:
        case "seldon":
            return seldon.BACKEND
        case "plain":
            return plain.BACKEND
        case _:
            assert_never(plan.serve.backend)


def disruption_budget(plan: Plan, version: Version) -> policy.PodDisruptionBudget | None:
    """Build the budget by which a node's drain takes one pod of a version at a time.

    None where a version never has more than one pod.
    """
    if plan.serve.most == 1:
        return None
    pods = serving_backend(plan).release_labels(plan.names, version.id)
    return policy.PodDisruptionBudget(
        metadata=parts.object_meta(plan.names, plan.names.predictor(version.id), seldon.COMPONENT),
        spec=policy.DisruptionBudgetSpec(
            max_unavailable=1,
            selector=LabelSelector(match_labels=pods),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
    )
