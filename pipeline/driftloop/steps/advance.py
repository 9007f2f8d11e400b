"""`driftloop step advance`."""

import time

import click

from driftloop.contract.names import Names
from driftloop.operations.advance import CandidateRollout, RejectedError, parse_limits
from driftloop.operations.applied import Applied
from driftloop.steps import options
from driftloop.steps.settings import Settings

EXAMPLES = """\b
Examples:
  driftloop step advance --pipeline digits --namespace digits --run digits-4f0c1d2e3a5b --release r1a2b3c4d --to 10"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.namespace
@options.run
@click.option("--release", required=True, help="Release id of the candidate.")
@click.option("--to", required=True, metavar="shadow|PERCENT|promote", help="Stage to advance to.")
@click.option("--limits", default="{}", help="Limits of the analysis (JSON).")
@click.option("--timeout", default=86_400.0, show_default=True, help="Seconds after which the candidate is rejected.")
def command(*, pipeline: str, namespace: str, run: str, release: str, to: str, limits: str, timeout: float) -> None:
    """Advance the rollout by one stage: commit it, wait until it is applied, analyze it.

    When the analysis fails, the candidate is rejected by a commit.
    """
    settings = Settings.here()
    rollout = CandidateRollout(Names(pipeline, namespace), run, release, settings.repository(), report=options.say)
    bounds = parse_limits(limits)
    deadline = time.monotonic() + timeout
    try:
        commit = rollout.step(to)
        if commit is None:
            return
        runtime = Applied(settings.kubernetes, rollout.repository, rollout.names)
        rollout.wait_until_applied(runtime, commit, deadline)
        if to != "promote":
            rollout.wait_until_analyzed(bounds, deadline)
    except RejectedError as error:
        rollout.reject(error)
        raise
