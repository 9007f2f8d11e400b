"""`driftloop step rollback`: go back from a release because of alarms about it."""

import click

from driftloop.contract.platform import SIGNING_KEYS
from driftloop.operations.rollouts.automatic_rollback import AutomaticRollback, carry_out
from driftloop.retrain import store as decisions
from driftloop.retrain.rollbacks import find_claimed
from driftloop.retrain.state import ClaimRollbackEvent, RollbackEndEvent
from driftloop.steps import options
from driftloop.steps.settings import StepSettings

EXAMPLES = """\b
Examples:
  driftloop step rollback --pipeline digits --namespace digits --run digits-rollback-4f0c1d2e3a5b \\
    --decision 4f0c1d2e3a5b
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.namespace
@click.option("--run", required=True, help="Name of the Workflow.")
@click.option("--decision", required=True, help="Id of the order.")
def command(*, pipeline: str, namespace: str, run: str, decision: str) -> None:
    """Carry out the order that the decision has of this id: its release makes way for the one before,
    by a commit. Without such an order nothing is done.

    What stands against it is told to the decision, which keeps the loop halted.
    """
    settings = StepSettings.from_environment()
    state = decisions.apply_once(
        settings.nats_url, namespace, pipeline, ClaimRollbackEvent(run, decision)
    )
    order = find_claimed(state, run)
    if order is None:
        options.print_progress(f"nothing is done: the decision has no order {decision} for {run}")
        return
    left = order.cause.release
    options.print_progress(f"going back from {left} because of {order.cause.text}")
    ended = carry_out(
        settings.open_repository(),
        pipeline,
        order,
        store=settings.store,
        keys=settings.environment.get(SIGNING_KEYS.environment, ""),
        report=options.print_progress,
    )
    decisions.apply_once(
        settings.nats_url,
        namespace,
        pipeline,
        RollbackEndEvent(order.decision, ended.outcome, ended.reason, ended.to),
    )
    options.print_progress(_describe_end(ended, left))


def _describe_end(ended: AutomaticRollback, left: str) -> str:
    if ended.outcome == "rolled-back":
        return f"rolled back from {left} to {ended.to}, commit {ended.commit or 'made before'}"
    return f"nothing is committed ({ended.outcome}): {ended.reason}"
