"""`driftloop step advance`."""

import time

import click

from driftloop.contract.names import Names
from driftloop.operations.commits.applied import AppliedCommits
from driftloop.operations.rollouts.advance import (
    CandidateRejectedError,
    CandidateRollout,
    InterferenceError,
    parse_limits,
    read_approval,
)
from driftloop.steps import options
from driftloop.steps.settings import StepSettings

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
@click.option(
    "--timeout",
    default=86_400.0,
    show_default=True,
    help="Seconds after which the candidate is rejected.",
)
@click.option("--approval-who", default=None, help="Person who has approved the promotion.")
@click.option("--approval-when", default="", help="Time of the approval.")
@click.option("--approval-reason", default="", help="Reason of the approval.")
@click.option("--approvers", default="", help="Who may approve it (JSON); everybody when left out.")
def command(
    *,
    pipeline: str,
    namespace: str,
    run: str,
    release: str,
    to: str,
    limits: str,
    timeout: float,
    approval_who: str | None,
    approval_when: str,
    approval_reason: str,
    approvers: str,
) -> None:
    """Advance the rollout by one stage: commit it, wait until it is applied, analyze it.

    When the analysis fails, the candidate is rejected by a commit. When somebody else has changed
    the release, nothing is done.
    """
    settings = StepSettings.from_environment()
    rollout = CandidateRollout(
        Names(pipeline, namespace),
        run,
        release,
        settings.open_repository(),
        report=options.print_progress,
    )
    if approval_who is not None:
        rollout.approval = read_approval(approval_who, approval_when, approval_reason, approvers)
    bounds = parse_limits(limits)
    deadline = time.monotonic() + timeout
    try:
        commit = rollout.commit_stage(to)
        if commit is None:
            return
        runtime = AppliedCommits(settings.kubernetes, rollout.repository, rollout.names)
        rollout.wait_until_applied(runtime, commit, deadline)
        if to != "promote":
            rollout.wait_until_analyzed(bounds, deadline)
    except InterferenceError as error:
        # the release is somebody's decision now: there is nothing left to do, and nothing failed
        options.print_progress(f"superseded: {error.message}")
    except CandidateRejectedError as error:
        rollout.reject_candidate(error)
        raise
