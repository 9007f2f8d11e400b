"""What the Deployment of a decision service says of its pipeline, in the policy that it hands to its program."""

from collections.abc import Mapping
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.lacks import describe_lacks


def describe_unfitted(deployment: Mapping[str, Any] | None) -> str:
    """Return what production lacks of the monitors, in words; empty when it lacks nothing, or nothing is known."""
    if deployment is None:
        return ""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    args = containers[0].get("args") or []
    try:
        policy = RetrainPolicy.parse(args[args.index("--policy") + 1])
    except (ValueError, IndexError, DocumentError):
        # of another version of driftloop
        return ""
    lacks = describe_lacks(policy.unfitted or {})
    return f"production {lacks}" if lacks else ""
