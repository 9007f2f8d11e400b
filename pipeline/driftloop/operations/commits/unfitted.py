"""What production lacks of the monitors that a spec has: a run fits them for its model."""

from driftloop.contract.lacks import describe_lacks
from driftloop.plan import Plan
from driftloop.release.record import Release
from driftloop.release.refits import find_lacks
from driftloop.resources.detector import digest_monitors


def describe_unfitted(plan: Plan, release: Release) -> str:
    """Return what production lacks, and the command that mends it; empty when it lacks nothing."""
    lacks = describe_lacks(find_lacks(release.production, digest_monitors(plan)))
    if not lacks:
        return ""
    return (
        f"production {lacks}: without new data `driftloop trigger {plan.names.pipeline}` makes the same model, and "
        "releases its detectors alone"
    )
