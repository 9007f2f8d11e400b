"""Since when a release is production, and by which commit."""

from dataclasses import dataclass
from typing import Literal

from driftloop.contract.outcomes import OUTCOME_TRAILER
from driftloop.contract.trees import release_path
from driftloop.git.repository import Repository
from driftloop.release.roles import load_roles

MOST = 200
"""Commits of release.yaml to look through."""
ProductionChange = Literal["first", "promotion", "rollback"]


@dataclass(frozen=True)
class ProductionSince:
    """The commit that made a release production."""

    release: str
    commit: str
    at: float
    """When it was committed, in seconds since 1970."""
    change: ProductionChange


def read_production(repository: Repository, pipeline: str) -> ProductionSince | None:
    """Return the newest commit that changed production, from the tip of the branch; None before the first
    release, and when it is further back than `MOST` commits of release.yaml."""
    return find_production(repository, pipeline, repository.tip())


def find_production(
    repository: Repository, pipeline: str, tip: str | None
) -> ProductionSince | None:
    """Return the same from a commit that was fetched."""
    path = release_path(pipeline)
    commits = repository.history(tip, path, MOST) if tip is not None else ()
    for entry in commits:
        now = _read_release(repository, entry.commit.sha, path)
        if now is None:
            return None
        before = _read_release(repository, entry.parent, path) if entry.parent else None
        if before != now:
            promoted = entry.trailers.get(OUTCOME_TRAILER) == "released"
            change: ProductionChange = (
                "first" if before is None else "promotion" if promoted else "rollback"
            )
            return ProductionSince(now, entry.commit.sha, entry.at, change)
    return None


def _read_release(repository: Repository, commit: str, path: str) -> str | None:
    text = repository.tree(commit).get(path)
    return None if text is None else load_roles(text, path=path).production
