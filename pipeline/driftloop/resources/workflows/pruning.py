"""`P-prune`: removes from the bucket what runs have left and nothing needs any more."""

from driftloop.contract.names import SCHEDULE_CAUSE
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.workflows.steps import (
    GIT,
    PARAMETERS,
    OutputParameter,
    StepGraph,
    WorkflowOutline,
    WorkflowParameter,
    own_step,
)

LIMIT = 2 * 3600
"""Seconds that it may take."""


def pruning_outline(plan: Plan) -> WorkflowOutline:
    """Build the workflow of one step, which has the store and git and no right at the API server."""
    step = own_step(
        plan,
        "prune",
        ("prune", "--pipeline", plan.names.pipeline, "--out", PARAMETERS),
        variables=(*parts.S3, *parts.GIT),
        outputs=(OutputParameter("removed"),),
        deadline=LIMIT,
        retries=2,
        reaches=GIT,
    )
    main = StepGraph(name="main", nodes=(step,))
    return WorkflowOutline(
        name=plan.names.prune,
        nodes=(main, step),
        parameters=(WorkflowParameter("cause", "Why it was started", value=SCHEDULE_CAUSE),),
        entrypoint=main.name,
        on_exit=None,
        deadline=LIMIT + 3600,
        lineage=(),
    )
