"""The text of `driftloop status`."""

import pytest

from driftloop.cli.status import _format_replacement
from driftloop.operations.status import ReleaseStatus, VerdictStatus


@pytest.mark.parametrize(
    ("scored", "release", "note"),
    [
        ("r1", {"production": "r1"}, ""),
        ("r1", {"production": "r2"}, " (replaced by r2, whose next window is not full yet)"),
        ("r1", {"production": None}, ""),
        ("r1", None, ""),
    ],
)
def test_a_verdict_on_a_replaced_release_says_so(
    scored: str, release: dict[str, str] | None, note: str
) -> None:
    status = (
        ReleaseStatus("stable", release["production"], None, {}) if release is not None else None
    )
    assert _format_replacement(VerdictStatus.from_json({"release": scored}), status) == note
