"""`P-rollback`: goes back to the previous release because of alarms about production."""

from driftloop.contract.accounts import NatsRole
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.workflows.steps import (
    CLAIM,
    WorkflowOutline,
    WorkflowParameter,
    own_step,
)

DEADLINE = 1800
"""Seconds until it is given up, with the wait for room and all tries: then a person has to know."""


def rollback_outline(plan: Plan) -> WorkflowOutline:
    """Build the workflow of a rollback: one step, which takes its order from the decision."""
    names = plan.names
    step = own_step(
        plan,
        "rollback",
        (
            *("rollback", "--pipeline", names.pipeline, "--namespace", names.namespace),
            *("--run", "{{workflow.name}}", "--decision", "{{workflow.parameters.decision}}"),
        ),
        variables=(
            *parts.nats(NatsRole.STEP),
            *parts.S3,
            *parts.GIT,
            *(parts.SIGNING_KEYS if plan.signatures is not None else ()),
        ),
        deadline=600,
        retries=3,
        reaches=CLAIM,
    )
    return WorkflowOutline(
        name=names.rollback,
        nodes=(step,),
        parameters=(
            WorkflowParameter("decision", "Id of the decision's order"),
            WorkflowParameter("cause", "The alarm; the step reads it from the order"),
        ),
        entrypoint=step.name,
        on_exit=None,
        deadline=DEADLINE,
        lineage=("decision",),
    )
