"""Roll back by the loop itself: production that alarms speak against makes way for the version before it.

All that `driftloop rollback` looks at is looked at before. What stands against it is an outcome with a
reason, not an error: the loop stays halted, and tells it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from driftloop.contract.outcomes import RunOutcome
from driftloop.errors import ReleaseError, StepError
from driftloop.git.repository import Repository
from driftloop.operations.commits import releases
from driftloop.operations.commits.releases import CommittedPipeline, TransitionMessage
from driftloop.operations.rollouts.rollback import check_signature, describe_missing
from driftloop.release import record
from driftloop.release.record import LeftRelease, Release, Version
from driftloop.retrain.state import RollbackOrder, RollbackOutcome

if TYPE_CHECKING:
    from driftloop.clients.s3 import ObjectStore


@dataclass(frozen=True)
class AutomaticRollback:
    """Result of an order to roll back."""

    outcome: RollbackOutcome | Literal["stale"]
    reason: str = ""
    """Why nothing was committed; empty when it was."""
    to: str | None = None
    """Release that came back."""
    commit: str | None = None
    """None when nothing was committed, or it was before."""


class _StaleError(ReleaseError):
    """Another release is production by now."""


def carry_out(
    repository: Repository,
    name: str,
    order: RollbackOrder,
    *,
    store: "ObjectStore",
    keys: str,
    report: Callable[[str], None],
) -> AutomaticRollback:
    """Go back from the order's release by one push; done again, it finds what it did.

    `keys` are the trusted keys of signatures. ReleaseError when the store does not answer, GitError when
    git does not: both may be tried again.
    """
    committed = releases.read_pipeline(repository.tree(repository.tip()), name)
    if (done := _find_done(committed.release, order)) is not None:
        return AutomaticRollback("rolled-back", to=done.to)
    try:
        version = _choose_version(committed, order, store, keys)
        report(f"{version.id} is there, with the digests of its release")
        moved = releases.commit_transition(
            repository,
            name,
            lambda current: _leave(current, order, version),
            lambda before, after: _build_message(name, before, version, order),
        )
    except _StaleError as error:
        return AutomaticRollback("stale", error.message)
    except (_RefusedError, StepError) as error:
        return AutomaticRollback("refused", error.message)
    commit = moved.commit.sha if moved.commit is not None else None
    return AutomaticRollback("rolled-back", to=version.id, commit=commit)


class _RefusedError(ReleaseError):
    """There is no way back."""


def _find_done(release: Release, order: RollbackOrder) -> LeftRelease | None:
    return next((left for left in release.left if left.decision == order.decision), None)


def _choose_version(
    committed: CommittedPipeline, order: RollbackOrder, store: "ObjectStore", keys: str
) -> Version:
    """Return the version to go back to, whose files are there and signed."""
    version = _leave(committed.release, order).production
    assert version is not None  # noqa: S101 - a release that is left has one
    try:
        check_signature(committed, version, lambda: keys)
    except ReleaseError as error:
        raise _RefusedError(error.message) from error
    if (missing := describe_missing(store, version)) is not None:
        raise _RefusedError(f"{version.id} can't come back: {missing}")
    return version


def _leave(current: Release, order: RollbackOrder, to: Version | None = None) -> Release:
    """Return the release without its production; `to` is the version that was looked at."""
    if _find_done(current, order) is not None:
        # a push whose answer was lost
        return current
    production = current.production
    if production is None or order.cause.is_stale(production.id):
        found = production.id if production is not None else "none"
        raise _StaleError(f"the alarm is about {order.cause.release}, production is {found}")
    try:
        after = record.leave_production(current, decision=order.decision, cause=order.cause.text)
    except ReleaseError as error:
        raise _RefusedError(error.message) from error
    if to is not None and after.production != to:
        raise _RefusedError("somebody else changed the release meanwhile")
    return after


def _build_message(
    name: str, before: Release, version: Version, order: RollbackOrder
) -> TransitionMessage:
    cause, left = order.cause, order.cause.release
    windows = (
        f"window {cause.last}"
        if cause.first == cause.last
        else f"windows {cause.first} to {cause.last}"
    )
    together = ", which alarm together" if cause.lasting is not None else ""
    below = None
    if (candidate := before.candidate) is not None:
        reason = f"{left}, which it was measured against, is rolled back because of {cause.text}"
        below = TransitionMessage(
            f"Take {candidate.id} of {name} out of its rollout",
            candidate,
            cause.text,
            outcome=RunOutcome.now("superseded", reason),
        )
    return TransitionMessage(
        f"Roll {name} back to {version.id}",
        version,
        cause.text,
        f"By the loop itself: monitor {cause.detector} alarmed of {left}, {windows}{together}. It replaces "
        f"{left}, to which the loop does not go back.",
        left=left,
        decision=order.decision,
        below=below,
    )
