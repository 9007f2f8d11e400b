"""The newest commit that changed production or candidate of a pipeline, and whether a person took
a release back by it."""

from dataclasses import dataclass

from driftloop.contract.trees import release_path
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.release.record import Release, Version, load_release
from driftloop.retrain.state import HeadEvent

MOST = 100
"""Commits to look through; a rollout has one for each step of its canary."""
RUN_TRAILER = "Driftloop-Run"
TAKEN_BACK_TRAILER = "Driftloop-Taken-Back"


@dataclass(frozen=True)
class ReleaseHead:
    """The newest commit that changed production or candidate."""

    commit: str
    subject: str
    author: str
    at: float
    production: str | None
    taken_back: tuple[Version, ...] = ()
    """What a person took back by it; none when it was the loop's own, or a promotion."""

    @property
    def event(self) -> HeadEvent:
        """The commit as the decision to retrain takes it."""
        return HeadEvent(
            self.commit,
            self.production,
            bool(self.taken_back),
            self.subject,
            self.author,
            self.at,
        )


def read_head(repository: Repository, pipeline: str) -> ReleaseHead | None:
    """Read it from the tip of the branch; None before the first release."""
    tip = repository.tip()
    if tip is None:
        return None
    path = release_path(pipeline)
    commits = repository.history(tip, path, MOST)
    for entry in commits:
        after = _read_release(repository, entry.commit.sha, path)
        before = None if entry.parent is None else _read_release(repository, entry.parent, path)
        if after is None or _roles(before) == _roles(after):
            continue
        return ReleaseHead(
            entry.commit.sha,
            entry.commit.subject,
            entry.author,
            entry.at,
            after.production.id if after.production is not None else None,
            _find_taken_back(entry, before, after),
        )
    return None


def _read_release(repository: Repository, commit: str, path: str) -> Release | None:
    text = repository.tree(commit).get(path)
    return None if text is None else load_release(text, path=path)


def _roles(release: Release | None) -> tuple[str | None, str | None]:
    """Return the ids of production and candidate."""
    if release is None:
        return None, None
    roles = (release.production, release.candidate)
    production, candidate = (None if version is None else version.id for version in roles)
    return production, candidate


def _find_taken_back(
    entry: LoggedCommit, before: Release | None, after: Release
) -> tuple[Version, ...]:
    by_person = RUN_TRAILER not in entry.trailers or TAKEN_BACK_TRAILER in entry.trailers
    if before is None or not by_person:
        return ()
    now = _roles(after)
    promoted = before.candidate is not None and now[0] == before.candidate.id
    if promoted:
        return ()
    return tuple(
        version
        for version in (before.production, before.candidate)
        if version is not None and version.id not in now
    )
