"""`driftloop step watch`."""

import click

from driftloop.contract.names import Names
from driftloop.operations.rollouts.advance import CandidateRollout, parse_limits
from driftloop.operations.rollouts.held import HeldRollout
from driftloop.steps import options
from driftloop.steps.settings import StepSettings

EXAMPLES = """\b
Examples:
  driftloop step watch --pipeline digits --namespace digits --run digits-4f0c1d2e3a5b --release r1a2b3c4d --workflow W --hold approval"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.namespace
@options.run
@click.option("--release", required=True, help="Release id of the candidate.")
@click.option("--workflow", required=True, help="Workflow of the rollout.")
@click.option("--hold", required=True, metavar="TASK", help="Task at which it waits for a person.")
@click.option("--limits", default="{}", help="Limits of the analysis (JSON).")
@click.option(
    "--within",
    default=7 * 86_400.0,
    show_default=True,
    help="Seconds of waiting after which the candidate is rejected.",
)
def command(
    *,
    pipeline: str,
    namespace: str,
    run: str,
    release: str,
    workflow: str,
    hold: str,
    limits: str,
    within: float,
) -> None:
    """Watch a candidate while its rollout waits for a person.

    It ends with the wait. When a limit breaks, or nobody approves in time, the candidate is rejected by a
    commit; when somebody else has changed the release, the wait ends, too.
    """
    settings = StepSettings.from_environment()
    rollout = CandidateRollout(
        Names(pipeline, namespace),
        run,
        release,
        settings.open_repository(),
        report=options.print_progress,
    )
    held = HeldRollout(rollout, settings.kubernetes, workflow, hold)
    held.watch(parse_limits(limits), within)
