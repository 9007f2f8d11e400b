"""Promote a candidate by hand."""

from driftloop.contract.outcomes import RunOutcome
from driftloop.operations.commits import releases
from driftloop.operations.commits.releases import TransitionMessage, TransitionResult
from driftloop.operations.commits.target import CommitTarget
from driftloop.release import record
from driftloop.release.record import Release


def promote_candidate(target: CommitTarget, name: str) -> TransitionResult:
    """Make the candidate of a pipeline production by one push; ReleaseError when there is no
    candidate."""

    def write_message(before: Release, after: Release) -> TransitionMessage:
        assert before.candidate is not None  # noqa: S101 - promotion needs one
        return TransitionMessage(
            f"Promote {before.candidate.id} of {name}",
            before.candidate,
            target.cause,
            releases.describe_unheard(before),
            outcome=RunOutcome.now("released", f"promoted by {target.cause}"),
        )

    return releases.commit_transition(
        target.repository, name, record.promote_candidate, write_message
    )
