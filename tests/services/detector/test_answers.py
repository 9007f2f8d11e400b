"""Monitors of answers: what an answer is, that clean ones are quiet, and what is said of those that moved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.detector import write_answers
from support.payloads import json_documents

from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.contract.verdicts import ColumnChange, describe_changes, read_changes
from driftloop.release.tables import read_answer_table
from driftloop.services.detector.detectors import WindowDetector, WindowVerdict, fit_detector
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.fitting.answer_learning import gather_answers
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.rows.answers import (
    ANSWER_NAMES,
    ANSWER_WIDTH,
    AnswerDecoder,
)
from driftloop.services.detector.rows.decoding import choose_decoder
from driftloop.services.detector.rows.payload import PAYLOAD
from driftloop.services.detector.rows.values import round_numbers

Random = np.random.Generator
Make = Callable[[Random, int], list[Any]]
"""Makes answers, as the values of a response's rows."""
DIGITS = [str(digit) for digit in range(10)]
EVEN = np.full(10, 0.1)
SKEWED = np.array([0.31, *[0.69 / 9] * 9])[[1, 2, 3, 0, 4, 5, 6, 7, 8, 9]]


def seldon(rows: list[Any], names: list[str] | None = None) -> dict[str, Any]:
    return {"data": {"names": names or [], "ndarray": rows}, "meta": {}}


def probabilities(shares: NDArray[np.float64]) -> Make:
    """Confident and less confident answers of ten classes, in these shares."""

    def make(random: Random, rows: int) -> list[Any]:
        logits = random.normal(size=(rows, 10))
        logits[np.arange(rows), random.choice(10, p=shares, size=rows)] += random.gamma(4, 2, rows)
        odds = np.exp(logits)
        values: list[Any] = (odds / odds.sum(axis=1, keepdims=True)).tolist()
        return values

    return make


def labels(shares: NDArray[np.float64]) -> Make:
    return lambda random, rows: random.choice(10, p=shares, size=rows).tolist()


def words(shares: NDArray[np.float64]) -> Make:
    return lambda random, rows: [[f"tumour {n}"] for n in labels(shares)(random, rows)]


def numbers(mean: float) -> Make:
    return lambda random, rows: random.normal(mean, 40, rows).tolist()


def scores(strength: float) -> Make:
    return lambda random, rows: [[float(v)] for v in random.beta(1, strength, rows)]


def fit(
    folder: Path,
    responses: list[dict[str, Any]],
    *,
    kind: DetectorKind = "tabular",
    rate: float = 0.01,
    window: int = 100,
    recent: int | None = None,
    columns: tuple[str, ...] | None = None,
) -> tuple[WindowDetector, AnswerDecoder, DetectorArtifact]:
    """What a run fits, and a service reads back."""
    config = DetectorSettings(kind, on="response", window=window, alarm_rate=rate, columns=columns)
    file = write_answers(folder / "answers.jsonl", responses, recent=recent)
    artifact.save_artifact(gather_answers(file, config), folder / "detector")
    fitted = artifact.load_artifact(folder / "detector")
    detector = fit_detector(config, fitted.reference, fitted.profile)
    return detector, AnswerDecoder(fitted.profile, complete=kind != "tabular"), fitted


def judge(
    detector: WindowDetector, decoder: AnswerDecoder, response: dict[str, Any]
) -> WindowVerdict:
    decoded = decoder.decode_rows(json.dumps(response).encode(), "seldon")
    assert not decoded.faults.list_counts()
    return detector.score_window(decoded.rows)


CLEAN: dict[str, tuple[Make, list[str]]] = {
    "probabilities": (probabilities(EVEN), DIGITS),
    "one class of ten is rare": (
        probabilities(np.array([0.11] * 9 + [0.01])),
        [f"t:{n}" for n in range(10)],
    ),
    "labels": (labels(EVEN), []),
    "words": (words(EVEN), ["t:0"]),
    "numbers": (numbers(1000), []),
    "scores": (scores(30.0), ["fraud"]),
}
RATE = 0.02
WINDOWS = 300
MOST = 15
"""Alarms in 300 windows that come less often than once in a thousand tests at a rate of 0.02."""


@pytest.mark.parametrize("name", CLEAN)
def test_clean_answers_alarm_no_oftener_than_stated(name: str, tmp_path: Path) -> None:
    make, names = CLEAN[name]
    alarms = 0
    for release in range(10):
        random = np.random.default_rng(release)
        rehearsed = [seldon([row], names) for row in make(random, 1000)]
        detector, decoder, _ = fit(tmp_path, rehearsed, rate=RATE)
        for _ in range(WINDOWS // 10):
            # in traffic, several rows may come together
            alarms += judge(detector, decoder, seldon(make(random, 100), names)).alarm
    assert alarms <= MOST


def watch(folder: Path, before: Make, after: Make, names: list[str]) -> tuple[ColumnChange, ...]:
    random = np.random.default_rng(7)
    rehearsed = [seldon([row], names) for row in before(random, 1000)]
    detector, decoder, _ = fit(folder, rehearsed, window=200)
    assert not judge(detector, decoder, seldon(before(random, 200), names)).alarm
    verdict = judge(detector, decoder, seldon(after(random, 200), names))
    assert verdict.alarm
    return read_changes(verdict.details)


@pytest.mark.parametrize(
    ("make", "names", "of"),
    [
        (probabilities, DIGITS, "3"),
        (probabilities, [f"t:{n}" for n in range(10)], "3"),
        (labels, [], "3"),
        (words, [], "tumour 3"),
    ],
)
def test_a_class_that_is_answered_oftener_is_named(
    make: Callable[[NDArray[np.float64]], Make], names: list[str], of: str, tmp_path: Path
) -> None:
    changes = watch(tmp_path, make(EVEN), make(SKEWED), names)
    change = next(change for change in changes if change.column == "class")
    assert (change.of, change.type) == (of, "category")
    assert change.before < 0.15 < 0.2 < change.after
    assert describe_changes([change], 1).startswith(f"class {of} ")
    assert " % -> " in describe_changes([change], 1)


def test_a_class_that_is_answered_three_times_as_often_is_seen_in_fifty_rows(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(7)
    rehearsed = [seldon([row], DIGITS) for row in probabilities(EVEN)(random, 2000)]
    detector, decoder, _ = fit(tmp_path, rehearsed, rate=0.0036)
    windows = [seldon(probabilities(SKEWED)(random, 50), DIGITS) for _ in range(30)]
    assert sum(judge(detector, decoder, window).alarm for window in windows) >= 12


def test_numbers_and_scores_that_moved_are_told_in_their_own_unit(tmp_path: Path) -> None:
    (change,) = watch(tmp_path, numbers(1000), numbers(1040), [])
    assert (change.column, change.of) == ("answer", "median")
    assert change.before == pytest.approx(1000, abs=10)
    assert change.after == pytest.approx(1040, abs=15)
    (change,) = watch(tmp_path, scores(30.0), scores(10.0), ["fraud"])
    assert change.column == "fraud"


def test_answers_move_though_no_column_of_the_requests_does(tmp_path: Path) -> None:
    def ask(random: Random, rows: int, correlation: float) -> NDArray[np.float64]:
        first, other = random.normal(size=(2, rows))
        return np.stack([first, correlation * first + (1 - correlation**2) ** 0.5 * other], axis=1)

    def answer(rows: NDArray[np.float64]) -> list[Any]:
        return ["same" if a * b > 0 else "other" for a, b in rows]

    random = np.random.default_rng(3)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", x=ask(random, 2000, 0.0), y=np.zeros(2000))
    config = DetectorSettings("tabular", window=200)
    requests = artifact.gather_reference(tmp_path / "data", "x", config)
    inputs = fit_detector(config, requests.reference, requests.profile)
    rehearsed = [seldon([word]) for word in answer(ask(random, 1000, 0.0))]
    detector, decoder, _ = fit(tmp_path, rehearsed, window=200)
    seen = {0.0: [0, 0], 0.6: [0, 0]}
    for correlation, alarms in seen.items():
        for _ in range(50):
            rows = ask(random, 200, correlation)
            alarms[0] += inputs.score_window(rows).alarm
            alarms[1] += judge(detector, decoder, seldon(answer(rows))).alarm
    assert seen[0.0][0] <= 4
    assert seen[0.0][1] <= 4
    assert seen[0.6][0] <= 4, "each column by itself is as it was"
    assert seen[0.6][1] >= 48


@pytest.mark.parametrize(
    ("response", "names", "rows"),
    [
        (seldon([[0.2, 0.8]], ["no", "yes"]), ("no", "yes"), [[0.2, 0.8]]),
        (seldon([[0.2, 0.8]], ["t:0", "t:1"]), (), [[0.2, 0.8]]),
        (seldon([3, 4]), (), [[3], [4]]),
        (seldon([3], DIGITS), (), [[3]]),
        (seldon([["cat"], ["dog"]], ["kind"]), ("kind",), [["cat"], ["dog"]]),
        (
            {"data": {"names": ["a", "b"], "tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
            ("a", "b"),
            [[1, 2], [3, 4]],
        ),
        (seldon([{"score": 0.5, "label": "cat"}]), ("score", "label"), [[0.5, "cat"]]),
        ({"strData": "cat"}, (), [["cat"]]),
        ({"jsonData": {"label": "cat", "score": 0.5}}, ("label", "score"), [["cat", 0.5]]),
        ({"jsonData": [{"label": "cat"}, {"label": "dog"}]}, ("label",), [["cat"], ["dog"]]),
        ({"jsonData": 4.5}, (), [[4.5]]),
        ({"jsonData": {"predictions": [[1], [2]]}}, (), [[1], [2]]),
        ({"predictions": [[0.5, 0.5]]}, (), [[0.5, 0.5]]),
        ({"predictions": [{"a": 1, "b": 2}]}, ("a", "b"), [[1, 2]]),
        (
            {
                "outputs": [
                    {"name": "label", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]},
                    {"name": "p", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
                ]
            },
            ("label", "p[0]", "p[1]"),
            [["a", 1, 2], ["b", 3, 4]],
        ),
    ],
)
def test_every_protocol_s_answers_are_rows_of_named_columns(
    response: Any, names: tuple[str, ...], rows: list[list[Any]]
) -> None:
    table = read_answer_table(json.dumps(response).encode())
    assert (table.names, table.rows) == (names, rows)


@pytest.mark.parametrize(
    ("responses", "types"),
    [
        (
            [seldon([[0.2, 0.8]], ["no", "yes"])],
            {"no": "number", "yes": "number", "class": "category"},
        ),
        ([seldon([[2.0, 0.8]])], {"answer[0]": "number", "answer[1]": "number"}),
        ([seldon([n % 3]) for n in range(15)], {"class": "category"}),
        ([seldon([float(n % 3)]) for n in range(15)], {"class": "category"}),
        ([seldon([n]) for n in range(15)], {"answer": "number"}),
        ([seldon([n / 2]) for n in range(2)], {"answer": "number"}),
        ([seldon([n == 1]) for n in range(2)], {"answer": "boolean"}),
        ([seldon([["cat"]], ["kind"])], {"kind": "category"}),
        ([seldon([0.5, None][n : n + 1]) for n in range(2)], {"answer": "number"}),
        (
            [{"jsonData": {"label": "cat", "score": 0.5}}],
            {"label": "category", "score": "number"},
        ),
        (
            [seldon([[1.0, 0.0]], ["class", "b"])],
            {"class": "number", "b": "number", "answer class": "category"},
        ),
    ],
)
def test_the_columns_of_answers(
    responses: list[dict[str, Any]], types: dict[str, str], tmp_path: Path
) -> None:
    _, decoder, fitted = fit(tmp_path, responses * 2)
    assert {column.name: column.type for column in fitted.profile.columns} == types
    decoded = decoder.decode_rows(json.dumps(responses[0]).encode())
    assert not decoded.faults.list_counts()
    assert decoded.rows[0] == pytest.approx(fitted.reference[0], nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("ks", ["no", "yes"]),
        ("cvm", ["no", "yes"]),
        ("chi2", ["class"]),
    ],
)
def test_other_detectors_get_what_they_can_use(
    kind: DetectorKind, columns: list[str], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    shares = random.random(100)
    rehearsed = [seldon([[p, 1 - p]], ["no", "yes"]) for p in shares.tolist()]
    config = DetectorSettings(kind, on="response", window=50)
    fitted = gather_answers(write_answers(tmp_path / "answers.jsonl", rehearsed), config)
    assert list(fitted.profile.names) == columns
    decoder = AnswerDecoder(fitted.profile, complete=True)
    rows = decoder.decode_rows(json.dumps(rehearsed[0]).encode()).rows
    assert rows[0] == pytest.approx(fitted.reference[0])
    gap = decoder.decode_rows(json.dumps(seldon([[None, 1.0]], ["no", "yes"])).encode())
    assert (len(gap.rows), gap.rejected) == (0, 1)


@pytest.mark.parametrize(
    ("response", "reason", "rows"),
    [
        (seldon([[0.1, 0.2, 0.7]], ["a", "b", "c"]), ANSWER_WIDTH, 1),
        (seldon([[0.1], [0.2]]), ANSWER_WIDTH, 2),
        (seldon([[0.1, 0.9]], ["a", "b"]), ANSWER_NAMES, 1),
        ({"status": {"code": 500, "info": "no"}}, PAYLOAD, 1),
        ({"data": {"ndarray": []}}, PAYLOAD, 1),
    ],
)
def test_answers_of_another_shape_are_counted_with_the_reason(
    response: Any, reason: str, rows: int, tmp_path: Path
) -> None:
    _, decoder, _ = fit(tmp_path, [seldon([[0.2, 0.8]], ["no", "yes"])] * 20)
    decoded = decoder.decode_rows(json.dumps(response).encode())
    assert len(decoded.rows) == 0
    assert decoded.faults.rejected == {reason: rows}


def test_names_count_and_not_the_order(tmp_path: Path) -> None:
    _, decoder, _ = fit(tmp_path, [seldon([[0.2, 0.8]], ["no", "yes"])] * 20)
    turned = decoder.decode_rows(json.dumps(seldon([[0.7, 0.3]], ["yes", "no"])).encode())
    assert turned.rows.tolist() == [[0.3, 0.7, 1.0]]
    bare = decoder.decode_rows(json.dumps(seldon([[0.7, 0.3]])).encode())
    assert bare.rows.tolist() == [[0.7, 0.3, 0.0]]


def test_the_reference_is_of_recent_rows_when_there_are_enough(tmp_path: Path) -> None:
    old_and_new = [seldon([float(n)]) for n in range(200)]
    _, _, fitted = fit(tmp_path, old_and_new, recent=120)
    assert len(fitted.reference) == 120
    _, _, fitted = fit(tmp_path, old_and_new, recent=20)
    assert len(fitted.reference) == 200
    config = DetectorSettings("tabular", on="response")
    note = gather_answers(tmp_path / "answers.jsonl", config).note
    assert note == "answers to 200 held-out rows, 180 of them earlier ones: too few are recent"


@pytest.mark.parametrize(
    ("responses", "told"),
    [
        ([seldon([1.5])], "has 1 answers, must have at least 2"),
        (
            [seldon([[1.5, 2.5]]), seldon([1.5])],
            "line 2: the answer is 1 value, that of line 1 is 2 values: must be alike",
        ),
        (
            [seldon([[1, 2]], ["a", "b"]), seldon([[1, 2]], ["a", "c"])],
            "line 2: the answer is 2 values named a, c, that of line 1 is 2 values named a, b",
        ),
        ([{"data": {"message": "hello"}}] * 2, "line 1: the model's answer has no values"),
    ],
)
def test_answers_that_give_no_reference_are_refused_by_line(
    responses: list[dict[str, Any]], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"answers\.jsonl") as error:
        fit(tmp_path, responses)
    assert told in error.value.message
    assert "on: request" in (error.value.hint or "")


RISKS = [
    {"risk": float(n % 7), "text": f"because of {n}", "grade": "ABC"[n % 3]} for n in range(200)
]


def answer(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"jsonData": rows}


def test_a_monitor_may_look_at_some_columns_of_the_answers(tmp_path: Path) -> None:
    rehearsed = [answer([row]) for row in RISKS]
    detector, decoder, fitted = fit(tmp_path, rehearsed, columns=("risk",), window=50)
    assert fitted.profile.names == ("risk",)
    # a text that nobody watches is none that can't be read
    assert not judge(detector, decoder, answer(RISKS[:50])).alarm
    moved = [{**row, "risk": row["risk"] + 5, "grade": "C"} for row in RISKS[:50]]
    assert [c.column for c in read_changes(judge(detector, decoder, answer(moved)).details)] == [
        "risk"
    ]
    with pytest.raises(
        ArtifactError, match="name `risks`, must be of the answers' columns"
    ) as refused:
        fit(tmp_path, rehearsed, columns=("risks",))
    assert refused.value.hint == "did you mean `risk`?"


def test_a_monitor_may_look_at_the_class_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rehearsed = [seldon([row], DIGITS) for row in probabilities(EVEN)(random, 400)]
    detector, decoder, fitted = fit(tmp_path, rehearsed, columns=("class",))
    assert (fitted.profile.names, fitted.profile.chosen) == (("class",), "class")
    skewed = np.array([0.05] * 9 + [0.55])
    verdict = judge(detector, decoder, seldon(probabilities(skewed)(random, 100), DIGITS))
    assert [change.of for change in read_changes(verdict.details)] == ["9"]
    _, _, fitted = fit(tmp_path, rehearsed, columns=("3",))
    assert (fitted.profile.names, fitted.profile.chosen) == (("3",), "")


def test_text_is_refused_by_a_detector_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="column `class` is of type category"):
        fit(tmp_path, [seldon(["cat"])] * 5, kind="ks")


def test_equal_answers_stay_equal_though_their_last_digits_differ(tmp_path: Path) -> None:
    repeated = [seldon([0.1 * (n % 7) + 1 / 3]) for n in range(700)]
    detector, decoder, _ = fit(tmp_path, repeated, window=200)
    noisy = [(0.1 * (n % 7) + 1 / 3) * (1 + 1e-9) for n in range(200)]
    assert not judge(detector, decoder, seldon(noisy)).alarm


@pytest.mark.parametrize(
    ("on", "told"), [("response", "fitted on training data"), ("request", "fitted on answers")]
)
def test_what_the_artifact_is_not_of_is_not_judged(
    on: Literal["request", "response"], told: str, tmp_path: Path
) -> None:
    config = DetectorSettings("tabular", on=on)
    (tmp_path / "a.csv").write_text("no,yes,y\n0.2,0.8,1\n0.8,0.2,0\n")
    fitted = artifact.gather_reference(tmp_path, "x", config)
    if on == "request":
        rehearsed = [seldon([[0.2, 0.8]], ["no", "yes"])] * 2
        fitted = gather_answers(write_answers(tmp_path / "answers.jsonl", rehearsed), config)
    decoder = choose_decoder(fitted, config)
    body = json.dumps(seldon([[0.2, 0.8], [0.1, 0.9]], ["no", "yes"])).encode()
    decoded = decoder.decode_rows(body)
    assert (len(decoded.rows), decoded.rejected, decoder.decode_rows(b"{").count) == (0, 2, 1)
    assert told in next(iter(decoded.faults.rejected))
    right = DetectorSettings("tabular", on="request" if on == "response" else "response")
    assert len(choose_decoder(fitted, right).decode_rows(body).rows) == 2


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_keeps_six_digits_and_changes_nothing_twice(value: float) -> None:
    once = round_numbers(np.array([value]), 6)
    assert once[0] == pytest.approx(value, rel=1e-5, abs=0)
    assert (round_numbers(once, 6) == once).all()


JSON = json_documents(
    "data", "names", "ndarray", "tensor", "jsonData", "outputs", "predictions", "shape"
)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> AnswerDecoder:
    folder = tmp_path_factory.mktemp("fitted")
    return fit(folder, [seldon([[0.2, 0.8]], ["no", "yes"])] * 20)[1]


@settings(deadline=None)
@given(JSON)
def test_whatever_a_model_says_is_rows_or_counted(decoder: AnswerDecoder, document: Any) -> None:
    decoded = decoder.decode_rows(json.dumps(document).encode())
    assert len(decoded.rows) + decoded.rejected >= 1
    assert decoded.rows.shape[1] == 3
