"""`schema`: broken requests are told by column, and clean windows hardly ever alarm."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.verdicts import ColumnChange, read_changes
from driftloop.services.detector.detectors import WindowVerdict, fit_detector
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.rows.payload import RowDecoder

SETTINGS = DetectorSettings("schema", window=200, alarm_rate=0.01, margin=0.1, at_least=0.01)
CARRIERS = ("AA", "UA", "B6", "DL", "WN")


def make_rows(random: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Rows of a table with gaps, zeros, a constant, long tails, and a category that hardly ever comes."""
    rows = []
    for _ in range(count):
        carrier = random.choice(CARRIERS, p=(0.4, 0.3, 0.2, 0.099, 0.001))
        rows.append(
            {
                "fare": None if random.random() < 0.2 else round(float(random.lognormal(2, 1)), 2),
                "delay": 0.0 if random.random() < 0.8 else float(random.exponential(20)),
                "carrier": str(carrier),
                "late": bool(random.random() < 0.01),
                "version": 3,
                "tail": f"N{random.integers(1, 10**6)}",
            }
        )
    return rows


def learn(folder: Path, rows: list[dict[str, Any]], settings: DetectorSettings = SETTINGS) -> Any:
    """The decoder and the detector that are fitted on rows."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({**row, "y": 0}) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(lines)
    fitted = artifact.gather_reference(folder, "x", settings)
    detector = fit_detector(settings, fitted.reference, fitted.profile)
    return RowDecoder(fitted.profile, complete=False, marks=True), detector


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return learn(tmp_path_factory.mktemp("schema"), make_rows(np.random.default_rng(1), 3000))


def judge(
    fitted: Any, rows: list[Any], *bodies: bytes
) -> tuple[WindowVerdict, tuple[ColumnChange, ...]]:
    """Requests of one row each, and others as they are, through the decoder."""
    decoder, detector = fitted
    payloads = [*(json.dumps({"instances": [row]}).encode() for row in rows), *bodies]
    window = np.concatenate([decoder.decode_rows(body).rows for body in payloads])
    verdict = detector.score_window(window)
    return verdict, read_changes(verdict.details)


def changed(**values: Any) -> list[dict[str, Any]]:
    """A clean window with some columns replaced."""
    rows = make_rows(np.random.default_rng(2), 200)
    return [
        {**row, **{k: v(n) if callable(v) else v for k, v in values.items()}}
        for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (changed(fare=None), "fare missing 20 % -> 100 %"),
        ([{k: v for k, v in row.items() if k != "carrier"} for row in changed()],
         "carrier missing 0 % -> 100 %"),
        (changed(delay=lambda n: "late" if n < 20 else n % 5), "delay unreadable 0 % -> 10 %"),
        (changed(delay=lambda n: -90.0 if n < 40 else n % 5), "delay below 0 0 % -> 20 %"),
        (changed(carrier=lambda n: "XX" if n % 10 == 0 else CARRIERS[n % 4]), "carrier new category"),
        (changed(version=lambda n: 4 if n > 150 else 3), "version not 3 0 % -> 24 %"),
        (changed(carrier="B6"), "carrier always B6 2"),
        (changed(late=True), "late always true"),
        (changed(tail="N" * 40), "tail above 7 0 % -> 100 %"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_broken_is_told_by_column(fitted: Any, rows: list[Any], text: str) -> None:
    verdict, changes = judge(fitted, rows)
    assert verdict.alarm
    assert verdict.score >= verdict.threshold
    assert changes[0].text.startswith(text), [change.text for change in changes]


def test_three_rows_of_a_new_category_are_news_at_a_seventh_of_the_rate(tmp_path: Path) -> None:
    settings = replace(SETTINGS, alarm_rate=0.0014)
    fitted = learn(tmp_path, make_rows(np.random.default_rng(1), 3000), settings)
    clean = [judge(fitted, make_rows(np.random.default_rng(n), 200))[0].alarm for n in range(10)]
    assert not any(clean)
    few = {
        rows: judge(fitted, changed(carrier=lambda n, rows=rows: "XX" if n < rows else "AA"))[
            0
        ].alarm
        for rows in (2, 3)
    }
    assert few == {2: False, 3: True}


def test_values_beyond_the_range_alarm_beyond_the_margin_only(fitted: Any) -> None:
    training = [row["fare"] for row in make_rows(np.random.default_rng(1), 3000) if row["fare"]]
    high, span = max(training), max(training) - min(training)
    near = judge(
        fitted, changed(fare=lambda n: high + (0.09 + n / 1e5) * span if n < 50 else 7.5 + n / 100)
    )
    assert not near[0].alarm
    verdict, (change,) = judge(
        fitted, changed(fare=lambda n: high + (0.11 + n / 1e5) * span if n < 50 else 7.5 + n / 100)
    )
    assert (change.column, change.kind) == ("fare", "above")
    assert verdict.alarm


def test_rows_that_come_more_than_once_alarm(fitted: Any) -> None:
    """Each row sent twice, under ids of its own, and one row that a client sends again and again."""
    rows = changed()
    rare = next(row for row in rows if row["fare"] and row["delay"])
    for repeated in (rows[:100] * 2, rows[:170] + [rare] * 30):
        verdict, (change,) = judge(fitted, repeated)
        assert verdict.alarm
        assert (change.column, change.kind, change.type) == ("rows", "duplicated", "row")
        assert change.before < 0.2 < change.before + 0.1 < change.after
        assert change.text.startswith("rows duplicated ")
    assert not judge(fitted, [*rows[:199], rare])[0].alarm


def test_rows_that_the_training_data_have_more_than_once_may_come_so(tmp_path: Path) -> None:
    """Few different rows, and rows that each are there twice; a window of one alone is too much."""
    random = np.random.default_rng(5)
    few = [{"a": int(v), "b": bool(w)} for v, w in random.integers(0, [4, 2], (2000, 2))]
    fitted = learn(tmp_path / "few", few)
    clean = [judge(fitted, [few[n] for n in random.integers(0, 2000, 200)]) for _ in range(20)]
    assert not any(verdict.alarm for verdict, _ in clean)
    twice = [{"a": float(v)} for v in np.repeat(random.normal(size=1000), 2)]
    fitted = learn(tmp_path / "twice", twice)
    for _ in range(20):
        rows = [twice[n] for n in random.permutation(2000)[:200]]
        assert not judge(fitted, rows)[0].alarm
    told = {change.kind for change in judge(fitted, twice[:200])[1]}
    assert "duplicated" in told


def test_rows_that_are_none_of_the_models_are_judged(fitted: Any) -> None:
    rows = changed()[:170]
    verdict, (change,) = judge(
        fitted, rows, *[b"{not json"] * 10, *[b'{"instances": [[1, 2]]}'] * 20
    )
    assert verdict.alarm
    assert change.text == (
        "rows not judged (it has another number of values than the training data have columns) 0 % -> 15 %"
    )
    # a window of nothing else is a window, too
    verdict, (change,) = judge(fitted, [], *[b"{not json"] * 200)
    assert (verdict.alarm, change.kind, change.after) == (True, "rejected", 1.0)


def test_a_certain_change_that_is_small_is_no_alarm(tmp_path: Path) -> None:
    rows = [{"a": n % 7} for n in range(4000)]
    window = [{"a": None if n % 250 == 0 else n % 7} for n in range(2000)]
    assert not judge(learn(tmp_path / "floor", rows), window)[0].alarm
    verdict, (change,) = judge(
        learn(tmp_path / "none", rows, replace(SETTINGS, at_least=0.0)), window
    )
    assert (verdict.alarm, change.text) == (True, "a missing 0 % -> 0.4 %")


def find_most(windows: int, rate: float) -> int:
    """The alarms that one in a thousand series of so many windows has more of."""
    shares = [math.comb(windows, k) * rate**k * (1 - rate) ** (windows - k) for k in range(windows)]
    return next(k for k in range(windows) if sum(shares[: k + 1]) > 0.999)


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_clean_windows_of_every_release_alarm_as_rarely_as_asked(
    margin: float, tmp_path: Path
) -> None:
    """Each of three releases by itself, and without the floor that keeps small changes quiet."""
    settings = replace(SETTINGS, alarm_rate=0.05, margin=margin, at_least=0.0)
    for release in range(3):
        random = np.random.default_rng(10 + release)
        decoder, detector = learn(tmp_path / str(release), make_rows(random, 2000), settings)
        pool = decoder.decode_rows(json.dumps({"instances": make_rows(random, 6000)}).encode()).rows
        windows = 300
        alarms = sum(
            detector.score_window(pool[random.integers(0, len(pool), 200)]).alarm
            for _ in range(windows)
        )
        assert alarms <= find_most(windows, settings.alarm_rate)


def test_a_reference_of_an_earlier_version_has_ranges_too() -> None:
    random = np.random.default_rng(3)
    columns = tuple(
        ColumnProfile(name=name, type="number", rows=1000, missing=0, distinct=1000)
        for name in ("a", "b")
    )
    profile = TableProfile(columns=columns, order=("a", "b"))
    detector = fit_detector(SETTINGS, random.normal(size=(1000, 2)), profile)
    rows = random.normal(size=(200, 2))
    assert not detector.score_window(rows).alarm
    rows[:40, 1] = 90
    (change,) = read_changes(detector.score_window(rows).details)
    assert (change.column, change.kind) == ("b", "above")
