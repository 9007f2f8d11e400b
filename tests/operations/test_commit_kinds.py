"""What a commit of a release.yaml did, from what the release was before and after it."""

import pytest

from driftloop.operations.commits.commit_kinds import ReleaseStand, find_commit_kind
from driftloop.pages.figures import CommitKind

EMPTY = ReleaseStand("empty")
FIRST = ReleaseStand("stable", "r1", weights={"r1": 100})
SHADOW = ReleaseStand("shadow", "r1", "r2", weights={"r1": 100})
CANARY = ReleaseStand("canary", "r1", "r2", weights={"r1": 90, "r2": 10})
HALF = ReleaseStand("canary", "r1", "r2", weights={"r1": 50, "r2": 50})
SECOND = ReleaseStand("stable", "r2", previous="r1", weights={"r2": 100})
THIRD = ReleaseStand("stable", "r3", previous="r2", weights={"r3": 100})


@pytest.mark.parametrize(
    ("before", "after", "kind", "about"),
    [
        (EMPTY, FIRST, "first", "r1"),
        (FIRST, SHADOW, "shadow", "r2"),
        (SHADOW, CANARY, "canary", "r2"),
        (CANARY, HALF, "canary", "r2"),
        (HALF, SECOND, "promote", "r2"),
        (HALF, FIRST, "reject", "r2"),
        (SECOND, FIRST, "rollback", "r1"),
        (SECOND, THIRD, "promote", "r3"),
        (FIRST, FIRST, "spec", ""),
        (FIRST, EMPTY, "spec", ""),
        (ReleaseStand(), EMPTY, "spec", ""),
    ],
)
def test_a_commit_is_told_by_what_it_changed(
    before: ReleaseStand, after: ReleaseStand, kind: CommitKind, about: str
) -> None:
    assert find_commit_kind({}, before, after) == (kind, about)


@pytest.mark.parametrize("trailer", ["Driftloop-Taken-Back", "Driftloop-Rolled-Back"])
def test_a_rollback_to_a_release_long_ago_is_no_promotion(trailer: str) -> None:
    assert find_commit_kind({trailer: "r3"}, THIRD, FIRST) == ("rollback", "r1")
    assert find_commit_kind({}, THIRD, FIRST) == ("promote", "r1")
