"""The text of `driftloop status`."""

import pytest

from driftloop.cli.status import _format_release, _format_replacement, _format_status
from driftloop.errors import LocalError
from driftloop.operations.watching.narrowing import narrow_status
from driftloop.operations.watching.status import PlatformStatus, ReleaseStatus, VerdictStatus


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


def test_a_pipeline_without_a_release_says_what_makes_one() -> None:
    assert _format_release("delays", ReleaseStatus("empty", None, None, {})) == (
        "release  delays: empty; production none; `driftloop data put FILES --to delays`, then "
        "`driftloop trigger delays --wait` trains the first"
    )


def test_a_rollout_says_what_its_stage_waits_for() -> None:
    waits = "20 of 500 requests; 61 of 600 s"
    release = ReleaseStatus("shadow", "r1", "r2", {"r1": 100}, measured="20 requests", waits=waits)
    assert _format_release("delays", release) == (
        "release  delays: shadow; production r1; candidate r2; weights r1 100%; measured 20 requests; "
        "shadow waits: 20 of 500 requests, 61 of 600 s"
    )


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


def list_verdicts(verdict: dict[str, object], unjudged: dict[str, object]) -> list[str]:
    release = {"phase": "stable", "production": "r1", "candidate": None, "weights": {}}
    key, time = "n/flights/drift", "2026-01-31T09:30:00Z"
    status = PlatformStatus.from_json(
        {
            **dict.fromkeys(("pid", "uptime", "gateway", "tip", "applied", "refused", "stuck")),
            "state": "here", "waiting": [], "processes": [], "memory": None, "runs": {},
            "decisions": {}, "releases": {"flights": release},
            "verdicts": {key: {"release": "r1", "window": 3, "alarm": False, "score": 4.5,
                               "threshold": 2.0, "time": time, "size": 200, **verdict}},
            "unjudged": {key: {"release": "r1", "reference": "r1", "windows": 0, "time": time,
                               **unjudged}} if unjudged else {},
        }
    )  # fmt: skip
    return [line for line in _format_status(status) if line.startswith("verdict")]


def test_an_alarm_says_which_columns_moved_and_how() -> None:
    (line,) = list_verdicts(
        {"alarm": True, "rejected": 12, "changes": "carrier AA 12 % -> 31 %"}, {}
    )
    assert line == (
        "verdict  n/flights/drift: ALARM, window 3 of r1, score 4.5, threshold 2, 12 of 212 rows not judged: "
        "carrier AA 12 % -> 31 %, 2026-01-31T09:30:00Z"
    )


def test_a_quiet_verdict_is_not_shown_as_such_when_a_window_of_rows_could_not_be_read() -> None:
    reason = {"reason": "the payload has no rows that can be read"}
    few, *_ = list_verdicts({}, {"rows": 199, **reason})
    assert ": quiet, window 3 of r1" in few
    many, unread = list_verdicts({}, {"rows": 200, **reason})
    assert ": UNKNOWN, was quiet, window 3 of r1" in many
    assert unread.endswith(
        "whose rows the detector can't read (the payload has no rows that can be read), 200 rows, "
        "2026-01-31T09:30:00Z"
    )


def test_an_open_window_is_shown_with_what_it_waits_for() -> None:
    window = {
        "release": "r1", "window": 8, "rows": 37, "full": 500, "least": 100, "repeated": 0,
        "since": "2026-01-31T09:30:00Z", "due": "2026-01-31T15:30:00Z",
    }  # fmt: skip
    status = PlatformStatus.from_json(
        {
            **dict.fromkeys(("pid", "uptime", "gateway", "tip", "applied", "refused", "stuck")),
            "state": "here", "waiting": [], "processes": [], "memory": None, "runs": {},
            "decisions": {}, "releases": {}, "verdicts": {}, "unjudged": {},
            "windows": {"n/flights/drift": window},
        }
    )  # fmt: skip
    (line,) = (line for line in _format_status(status) if line.startswith("window"))
    assert line == (
        "window   n/flights/drift: window 8 of r1 is open, 37 of 500 rows since 2026-01-31T09:30:00Z; "
        "was due at 2026-01-31T15:30:00Z, and closes when it has 100"
    )


def test_a_status_of_one_pipeline_has_nothing_of_another_whose_name_begins_alike() -> None:
    names = ("shoes", "shoes-eu")
    release = {"phase": "stable", "production": "r1", "candidate": None, "weights": {}}
    verdict = {"release": "r1", "window": 3, "alarm": False, "score": 4.5, "threshold": 2.0}
    run = {"name": "x-1", "phase": "Running"}
    process = {"pid": 1, "phase": "ready", "uptime": 1.0, "restarts": 0, "memory": 1.0}
    status = PlatformStatus.from_json(
        {
            **dict.fromkeys(("pid", "uptime", "gateway", "tip", "applied", "refused", "stuck")),
            "state": "here", "waiting": ["n/shoes-eu: waits"], "memory": None,
            "releases": dict.fromkeys(names, release),
            "verdicts": {f"n/{name}/drift": verdict for name in names},
            "decisions": {f"n.{name}": "idle" for name in names},
            "loops": {f"n.{name}": f"waits for alarms of {name}" for name in names},
            "runs": {f"n/{name}-train": run for name in names},
            "processes": [
                {**process, "name": name}
                for name in ("nats", *(f"n/{each}-decision" for each in names))
            ],
        }
    )  # fmt: skip
    for name in names:
        own = narrow_status(status, name)
        assert list(own.releases) == [name]
        assert list(own.verdicts) == [f"n/{name}/drift"]
        assert (list(own.decisions), list(own.loops)) == ([f"n.{name}"],) * 2
        assert list(own.runs) == [f"n/{name}-train"]
        assert [each.name for each in own.processes] == [f"n/{name}-decision"]
        assert own.waiting == status.waiting
    with pytest.raises(LocalError, match="here has no pipeline `shoe`, it has: shoes, shoes-eu"):
        narrow_status(status, "shoe")
