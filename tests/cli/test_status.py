"""What `driftloop status` prints of what it was told."""

import pytest

from driftloop.cli.status import _outdated


@pytest.mark.parametrize(
    ("judged", "release", "said"),
    [
        ("r1", {"production": "r1"}, ""),
        ("r1", {"production": "r2"}, " (replaced by r2, whose next window is not full yet)"),
        ("r1", {"production": None}, ""),
        ("r1", None, ""),
    ],
)
def test_a_verdict_on_a_replaced_release_says_so(judged: str, release: dict[str, str] | None, said: str) -> None:
    assert _outdated({"release": judged}, release) == said
