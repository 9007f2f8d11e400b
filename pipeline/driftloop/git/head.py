"""The newest commit that changed production or candidate of a pipeline, and whether a person took
a release back by it."""

from dataclasses import dataclass

from driftloop.contract.trees import release_path
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.release.roles import NO_ROLES, ReleaseRoles, load_roles
from driftloop.retrain.state import HeadEvent

MOST = 100
"""Commits to look through; a rollout has one for each step of its canary."""
RUN_TRAILER = "Driftloop-Run"
TAKEN_BACK_TRAILER = "Driftloop-Taken-Back"
ROLLED_BACK_TRAILER, DECISION_TRAILER = "Driftloop-Rolled-Back", "Driftloop-Decision"
"""Of a commit by which the loop itself goes back: the release that it leaves, and the order."""


@dataclass(frozen=True)
class ReleaseHead:
    """The newest commit that changed production or candidate."""

    commit: str
    subject: str
    author: str
    at: float
    production: str | None
    parent: str | None
    """The commit before it; None when it is the first of the branch."""
    taken_back: tuple[str, ...] = ()
    """Ids of the releases that a person, or the loop's own rollback, took back by it; none when it was
    another commit of the loop's, or a promotion."""
    decision: str = ""
    """Order that the loop carried out by it; empty for every other commit."""

    @property
    def event(self) -> HeadEvent:
        """The commit as the decision to retrain takes it."""
        return HeadEvent(
            self.commit,
            self.production,
            bool(self.taken_back) and not self.decision,
            self.subject,
            self.author,
            self.at,
            self.decision,
        )


def read_head(repository: Repository, pipeline: str) -> ReleaseHead | None:
    """Read it from the tip of the branch; None before the first release."""
    return find_head(repository, pipeline, repository.tip())


def find_head(repository: Repository, pipeline: str, tip: str | None) -> ReleaseHead | None:
    """Read it from a commit that was fetched; None before the first release."""
    path = release_path(pipeline)
    commits = repository.history(tip, path, MOST) if tip is not None else ()
    for entry in commits:
        after = _read_roles(repository, entry.commit.sha, path)
        before = None if entry.parent is None else _read_roles(repository, entry.parent, path)
        if after is None or (before or NO_ROLES) == after:
            continue
        return ReleaseHead(
            entry.commit.sha,
            entry.commit.subject,
            entry.author,
            entry.at,
            after.production,
            entry.parent,
            _find_taken_back(entry, before, after),
            entry.trailers.get(DECISION_TRAILER, ""),
        )
    return None


def _read_roles(repository: Repository, commit: str, path: str) -> ReleaseRoles | None:
    text = repository.tree(commit).get(path)
    return None if text is None else load_roles(text, path=path)


def _find_taken_back(
    entry: LoggedCommit, before: ReleaseRoles | None, after: ReleaseRoles
) -> tuple[str, ...]:
    by_person = RUN_TRAILER not in entry.trailers or TAKEN_BACK_TRAILER in entry.trailers
    if before is None or not (by_person or ROLLED_BACK_TRAILER in entry.trailers):
        return ()
    promoted = before.candidate is not None and after.production == before.candidate
    if promoted:
        return ()
    return tuple(id for id in before.ids if id not in after.ids)
