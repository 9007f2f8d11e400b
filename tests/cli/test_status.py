"""The text of `driftloop status`."""

import pytest

from driftloop.cli.status import _format_replacement, _format_status
from driftloop.operations.status import PlatformStatus, ReleaseStatus, VerdictStatus


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


@pytest.mark.parametrize(
    ("production", "reference", "reason"),
    [
        ("r1", "r2", "reference of r2, requests of r1"),
        ("r1", "r1", "requests of r1 whose rows the detector can't read"),
        ("r2", "r2", None),
    ],
)
def test_windows_of_production_that_are_not_judged_are_shown(
    production: str, reference: str, reason: str | None
) -> None:
    key = "digits/digits/drift"
    unjudged = {
        "release": "r1",
        "reference": reference,
        "windows": 3,
        "time": "2026-01-31T09:30:00Z",
    }
    release = {"phase": "stable", "production": production, "candidate": None, "weights": {}}
    status = PlatformStatus.from_json(
        {
            **dict.fromkeys(("pid", "uptime", "gateway", "tip", "applied", "refused", "stuck")),
            "state": "here", "waiting": [], "processes": [], "memory": None, "runs": {},
            "verdicts": {}, "decisions": {}, "releases": {"digits": release},
            "unjudged": {key: unjudged},
        }
    )  # fmt: skip
    shown = [line for line in _format_status(status) if "not judged" in line]
    line = f"verdict  {key}: not judged: {reason}, 3 windows, 2026-01-31T09:30:00Z"
    assert shown == ([] if reason is None else [line])
