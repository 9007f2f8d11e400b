"""The kind of a commit, by what it did to the release: charts, reports and the console say it alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftloop.git.head import ROLLED_BACK_TRAILER, TAKEN_BACK_TRAILER
from driftloop.pages.figures import CommitKind
from driftloop.release.record import Release, Version


@dataclass(frozen=True)
class ReleaseStand:
    """The parts of the traffic after a commit, by release id."""

    phase: str = ""
    production: str | None = None
    candidate: str | None = None
    previous: str | None = None
    """What `rollback` would restore."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Percent of the answers."""

    @classmethod
    def of(cls, release: Release | None) -> "ReleaseStand":
        """Return the stand of a release; an empty one where there is none, or it can't be read."""
        if release is None:
            return cls()
        return cls(
            release.phase,
            _find_id(release.production),
            _find_id(release.candidate),
            _find_id(release.previous),
            dict(release.weights),
        )


def find_commit_kind(
    trailers: Mapping[str, str], before: ReleaseStand, after: ReleaseStand
) -> tuple[CommitKind, str]:
    """Return what a commit did, and the release id that it is about (empty for a change of the spec)."""
    if after.production is None or after == before:
        return "spec", ""
    if before.production is None:
        return "first", after.production
    if after.production != before.production:
        ours = TAKEN_BACK_TRAILER in trailers or ROLLED_BACK_TRAILER in trailers
        # a person's own revert has no trailers
        theirs = before.candidate is None and after.production == before.previous
        return ("rollback" if ours or theirs else "promote"), after.production
    if after.candidate is None:
        return ("reject", before.candidate) if before.candidate is not None else ("spec", "")
    return ("canary" if after.phase == "canary" else "shadow"), after.candidate


def _find_id(version: Version | None) -> str | None:
    return version.id if version is not None else None
