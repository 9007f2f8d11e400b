"""End a rollout by hand: promote the candidate, or roll back to the version before."""

from driftloop.contract.outcomes import RunOutcome
from driftloop.operations import releases
from driftloop.operations.releases import TransitionMessage, TransitionResult
from driftloop.operations.target import CommitTarget
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
            outcome=RunOutcome.now("released", f"promoted by {target.cause}"),
        )

    return releases.commit_transition(
        target.repository, name, record.promote_candidate, write_message
    )


def roll_back(target: CommitTarget, name: str) -> TransitionResult:
    """Restore the previous version of a pipeline, or take the candidate out of its rollout, by
    one commit."""

    def write_message(before: Release, after: Release) -> TransitionMessage:
        return _rollback_message(name, before, after, target.cause)

    return releases.commit_transition(target.repository, name, revert_release, write_message)


def is_rollback(moved: TransitionResult) -> bool:
    """Return True when the previous version came back; False when a candidate was taken out, or
    nothing changed."""
    return moved.commit is not None and moved.commit.subject.startswith("Roll ")


def revert_release(release: Release) -> Release:
    """Return the release without its candidate, or with the previous version as production."""
    return (
        record.reject_candidate(release)
        if release.candidate is not None
        else record.restore_previous(release)
    )


def _rollback_message(name: str, before: Release, after: Release, cause: str) -> TransitionMessage:
    if before.candidate is not None:
        subject = f"Take {before.candidate.id} of {name} out of its rollout"
        outcome = RunOutcome.now("superseded", f"taken out of its rollout by {cause}")
        return TransitionMessage(
            subject, before.candidate, cause, outcome=outcome, taken_back=before.candidate.id
        )
    assert after.production is not None and before.production is not None  # noqa: S101, PT018 - phase stable has one
    body = f"It replaces {before.production.id}."
    return TransitionMessage(
        f"Roll {name} back to {after.production.id}",
        after.production,
        cause,
        body,
        taken_back=before.production.id,
    )
