"""Which answers to held-out rows a candidate is refused for, and what is only noted."""

import pytest

from driftloop.contract.handovers import RehearsalLimits
from driftloop.contract.records import Evaluation, HeldOutRow, HeldOutRows, Rehearsal
from driftloop.release.rehearsal import Reply, ServerRun, is_right, judge_rehearsal

LIMITS = RehearsalLimits(start=60.0, skew=0.02, accuracy="accuracy", p99=0.5)
UNSHARED = "accuracy was not compared: the evaluation has no share"
RIGHT, REFUSED = Reply(0.01, 1), Reply(0.01, status=400, text="no column age")


def rows(number: int, label: object = 1) -> HeldOutRows:
    return HeldOutRows(tuple(HeldOutRow([0.0], label, recent=True) for _ in range(number)))


def evaluation(accuracy: float | None, total: int) -> Evaluation:
    metrics = {} if accuracy is None else {"accuracy": accuracy}
    return Evaluation({"all": metrics, "recent": metrics}, None, {"all": total, "recent": total})


def judge(
    *replies: Reply,
    production: tuple[Reply, ...] | None = None,
    accuracy: float | None = 1.0,
    total: int | None = None,
    label: object = 1,
    limits: RehearsalLimits = LIMITS,
) -> Rehearsal:
    number = len(replies)
    return judge_rehearsal(
        rows(number, label),
        ServerRun(2.0, replies),
        None if production is None else ServerRun(2.0, production),
        evaluation(accuracy, number if total is None else total),
        limits,
    )


def test_a_row_is_refused_by_the_candidate_alone_or_by_both() -> None:
    alone = judge(RIGHT, REFUSED, production=(RIGHT, RIGHT), accuracy=1.0)
    assert alone.reasons == ("1 of 2 rows refused, which production answers: 400: no column age",)
    both = judge(RIGHT, REFUSED, production=(RIGHT, REFUSED))
    assert (both.passed, both.answered, both.compared) == (True, 1, 1)
    assert both.notes == ("1 of 2 rows are refused by production, too",)


def test_without_production_every_row_must_be_answered() -> None:
    assert judge(REFUSED, RIGHT).reasons == ("1 of 2 rows refused: 400: no column age",)


def test_production_that_can_not_be_asked_is_noted() -> None:
    gone = ServerRun(None, failure="the server ended with exit code 1: no such file")
    verdict = judge_rehearsal(rows(1), ServerRun(2.0, (RIGHT,)), gone, evaluation(1.0, 1), LIMITS)
    assert verdict.passed
    assert verdict.notes == (
        "production was not compared: the server ended with exit code 1: no such file",
    )


def test_the_accuracy_of_all_rows_is_that_of_the_evaluation() -> None:
    wrong = Reply(0.01, 0)
    assert judge(*[RIGHT] * 90, *[wrong] * 10, accuracy=0.91).passed
    verdict = judge(*[RIGHT] * 90, *[wrong] * 10, accuracy=0.95)
    assert verdict.accuracy == 0.9
    assert (
        "answers 90.0% of 100 rows right, the evaluation measured accuracy 95.0%"
        in verdict.reasons[0]
    )


def test_on_some_of_the_rows_chance_is_allowed_for() -> None:
    wrong = Reply(0.01, 0)
    assert judge(*[RIGHT] * 90, *[wrong] * 10, accuracy=0.95, total=5000).passed
    assert not judge(*[RIGHT] * 60, *[wrong] * 40, accuracy=0.95, total=5000).passed


@pytest.mark.parametrize(
    ("accuracy", "label", "note"),
    [
        (None, 1, f"{UNSHARED} `accuracy`, and no measure of numbers (mae, mse, rmse, r2)"),
        (7.5, 1, f"{UNSHARED} `accuracy`, and no measure of numbers (mae, mse, rmse, r2)"),
        (1.0, None, "accuracy was not compared: no recent row with a label was answered"),
    ],
)
def test_what_can_not_be_compared_is_noted(
    accuracy: float | None, label: object, note: str
) -> None:
    verdict = judge(RIGHT, accuracy=accuracy, label=label)
    assert verdict.passed
    assert verdict.notes == (note,)


def answered(label: object, name: str | None = None, answer: int = 0) -> tuple[HeldOutRow, Reply]:
    return HeldOutRow([0.0], label, recent=True), Reply(0.01, answer, name, classes=3)


def judge_pairs(pairs: list[tuple[HeldOutRow, Reply]]) -> Rehearsal:
    asked, replies = zip(*pairs, strict=True)
    run = ServerRun(2.0, replies)
    return judge_rehearsal(HeldOutRows(asked), run, None, evaluation(0.9, len(pairs)), LIMITS)


def test_labels_that_are_none_of_the_classes_are_noted_and_refuse_nothing() -> None:
    """A class that the training function makes of a number, and names that the server does not tell."""
    delays = [answered(float(minutes)) for minutes in range(-20, 60)]
    texts = [answered(species, "t:0") for species in ("Adelie", "Gentoo") * 20]
    for pairs, told in ((delays, "80 different numbers"), (texts, "`class_names` of its class")):
        verdict = judge_pairs(pairs)
        assert verdict.passed, verdict.reasons
        (note,) = verdict.notes
        assert note.startswith("accuracy was not compared: the labels are ")
        assert told in note


@pytest.mark.parametrize(
    "pairs",
    [
        [answered(digit) for digit in range(10)] * 4,
        [answered(species, "adelie") for species in ("Adelie", "Gentoo") * 20],
        [answered(2)] * 40,
    ],
    ids=["a constant answer", "other names", "a wrong class"],
)
def test_a_server_that_answers_other_classes_is_refused(
    pairs: list[tuple[HeldOutRow, Reply]],
) -> None:
    assert "rows right, the evaluation measured" in judge_pairs(pairs).reasons[0]


def test_slow_answers_are_refused_but_for_the_first() -> None:
    slow = Reply(0.6, 1)
    assert judge(slow, RIGHT, RIGHT).passed
    assert judge(RIGHT, slow, slow).reasons == ("p99 600 ms, allowed 500 ms",)


@pytest.mark.parametrize(
    ("reply", "label", "right"),
    [
        (Reply(0.1, 1, "t:1"), 1, True),
        (Reply(0.1, 1, "malignant"), 1, True),
        (Reply(0.1, 1, "malignant"), "malignant", True),
        (Reply(0.1, 0, "7"), 7, True),
        (Reply(0.1, 0, "7"), 1, False),
        (Reply(0.1, 1, "0"), 1, False),
        (Reply(0.1, "yes"), "yes", True),
        (Reply(0.1, 1), 1.0, True),
    ],
)
def test_an_answer_is_right_by_name_or_by_number(reply: Reply, label: object, right: bool) -> None:
    assert is_right(reply, label) is right


def numbers(pairs: list[tuple[float, float, float]], recent: bool = True) -> Rehearsal:
    """A rehearsal of rows with a label, the candidate's answer and production's."""
    asked = HeldOutRows(tuple(HeldOutRow([0.0], label, recent) for label, _, _ in pairs))
    runs = [ServerRun(1.0, tuple(Reply(0.01, pair[side]) for pair in pairs)) for side in (1, 2)]
    return judge_rehearsal(asked, runs[0], runs[1], evaluation(None, len(pairs)), LIMITS)


def test_numbers_are_alike_within_what_both_residuals_explain() -> None:
    near = [(100.0 + n, 101.5 + n, 99.0 + n) for n in range(30)]
    seen = numbers(near)
    assert seen.tolerance == pytest.approx((1.5**2 + 1.0**2) ** 0.5)
    assert (seen.compared, seen.agreement) == (30, 0.0)
    # one that errs a lot explains more
    worse = numbers([(label, ours, label + 40.0) for label, ours, _ in near])
    assert worse.tolerance == pytest.approx((1.5**2 + 40.0**2) ** 0.5)
    assert worse.agreement == 1.0


@pytest.mark.parametrize(
    "seen",
    [
        numbers([(1.0, 1, 1), (2.0, 2, 1)] * 20),
        numbers([(100.5, 101.5, 99.0)] * 5),
        numbers([(100.5, 101.5, 99.0)] * 40, recent=False),
    ],
    ids=["classes", "too few rows", "no recent rows"],
)
def test_without_numbers_on_enough_recent_rows_there_is_no_tolerance(seen: Rehearsal) -> None:
    assert seen.tolerance is None
    assert seen.compared > 0


ERRORS = [4.0, -3.0, 1.0, -2.0, 5.0] * 20
MEASURES = {"mae": 3.0, "mse": 11.0, "rmse": 11.0**0.5, "neg_mean_squared_error": -11.0}


def served(
    metrics: dict[str, float],
    *,
    shift: float = 0.0,
    asked: dict[str, float] | None = None,
    total: int = 100,
) -> Rehearsal:
    """A rehearsal of a server that errs by ERRORS and a shift."""
    held = tuple(HeldOutRow([0.0], 100.0 + 10 * n, recent=True) for n in range(len(ERRORS)))
    replies = tuple(
        Reply(0.01, row.label + error + shift) for row, error in zip(held, ERRORS, strict=True)
    )
    measured = Evaluation(
        {"all": metrics, "recent": metrics}, None, {"all": total, "recent": total}, asked=asked
    )
    return judge_rehearsal(HeldOutRows(held), ServerRun(1.0, replies), None, measured, LIMITS)


@pytest.mark.parametrize("metric", [*MEASURES, "test_r2"])
def test_answers_that_are_numbers_err_as_the_evaluation_says(metric: str) -> None:
    variance = sum((10 * n - 495.0) ** 2 for n in range(100)) / 100
    figures = {**MEASURES, "test_r2": 1 - 11.0 / variance}
    right = served({metric: figures[metric]})
    assert (right.passed, right.metric) == (True, metric)
    assert right.measured == pytest.approx(figures[metric])
    assert served({metric: figures[metric]}, shift=0.001).passed
    shifted = served({metric: figures[metric]}, shift=20.0)
    assert f"the server's answers to 100 rows have {metric} " in shifted.reasons[0]
    assert "it serves another model than was evaluated" in shifted.reasons[0]


def test_numbers_are_held_against_the_same_rows_where_they_were_measured() -> None:
    # of 5,000 rows the evaluation says something else, as it may
    assert not served({"mae": 3.2}, asked={"mae": 3.2}, total=5000).passed
    same = served({"mae": 3.2}, asked={"mae": 3.0}, total=5000, shift=0.0)
    assert same.passed
    off = served({"mae": 3.2}, asked={"mae": 3.0}, total=5000, shift=2.0)
    assert "have mae 3.4, the evaluation measured 3 on the same rows" in off.reasons[0]
    # without, chance is allowed for
    assert served({"mae": 3.2}, total=5000).passed
    assert not served({"mae": 3.2}, total=5000, shift=20.0).passed


def test_a_figure_that_is_none_of_its_name_is_noted() -> None:
    verdict = served({"rmse": -3.0})
    assert verdict.passed
    assert verdict.notes == ("`rmse` was not compared: the evaluation's -3 is none",)
