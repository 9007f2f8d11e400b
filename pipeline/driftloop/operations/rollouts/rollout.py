"""Promote a candidate by hand."""

from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.trees import spec_path
from driftloop.operations.commits import releases
from driftloop.operations.commits.releases import TransitionMessage, TransitionResult
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.runs.approvals import require_approver
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.spec import load_spec


def promote_candidate(target: CommitTarget, name: str) -> TransitionResult:
    """Make the candidate of a pipeline production by one push; ReleaseError when there is no
    candidate, LocalError for somebody who may not approve it where that is needed."""
    _require_approver(target, name)

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


def _require_approver(target: CommitTarget, name: str) -> None:
    """Raise LocalError when a promotion waits for people, and the person is none of them."""
    committed = releases.read_pipeline(target.repository.tree(target.repository.tip()), name)
    spec = load_spec(committed.spec, path=spec_path(name)).spec
    if spec.rollout.promote == "manual":
        require_approver(target.person, spec.approvers, f"a promotion of `{name}`")
