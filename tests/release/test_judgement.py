import json
import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.documents import DocumentError, from_json
from driftloop.contract.handovers import RolloutLimits
from driftloop.release.judgement import (
    Answers,
    Expected,
    ExpectedNumbers,
    Fail,
    Limits,
    Measured,
    Pass,
    StageTraffic,
    Wait,
    analyze_step,
    quantile,
    read_last,
)
from driftloop.release.record import NumbersAlike, Recent, Rehearsed
from tests.pipelines import version

FAST = {0.1: 99, 0.25: 100, math.inf: 100}


def answers(requests: int = 100, errors: int = 0, buckets=None) -> Answers:
    if buckets is None:
        buckets = {0.1: requests, math.inf: requests}
    return Answers(requests, errors, buckets)


def measured(
    seconds=60.0, production=None, candidate=None, joined=0, agreed=0, rows=None
) -> Measured:
    rows = joined if rows is None else rows
    return Measured(
        seconds, production or answers(1000), candidate or answers(), joined, rows, agreed
    )


CANARY = Limits(seconds=30, requests=100, error_rate=0.01, p99=0.25)
SHADOW = Limits(seconds=30, requests=100, agreement=0.9)
DRIFTED = Limits(seconds=30, requests=100, agreement=Expected(0.07, 0.95, 300))
ALIKE = Limits(seconds=30, requests=100, agreement=Expected(0.95, 0.95, 300))


@pytest.mark.parametrize(
    ("seen", "limits", "expected"),
    [
        (measured(), CANARY, Pass),
        (measured(seconds=29), CANARY, Wait),
        (measured(candidate=answers(99)), CANARY, Wait),
        (measured(candidate=answers(0)), CANARY, Wait),
        (measured(candidate=answers(100, 1)), CANARY, Pass),
        (measured(candidate=answers(100, 2)), CANARY, Fail),
        # hopeless before there is enough: two errors can't become 1 % of 100 again
        (measured(seconds=1, candidate=answers(5, 2)), CANARY, Fail),
        (measured(seconds=1, candidate=answers(5, 1)), CANARY, Wait),
        # what fails production too is the callers' fault
        (measured(production=answers(1000, 50), candidate=answers(100, 5)), CANARY, Pass),
        (measured(production=answers(1000, 50), candidate=answers(100, 7)), CANARY, Fail),
        (measured(candidate=answers(buckets={0.25: 98, 0.5: 100, math.inf: 100})), CANARY, Fail),
        (measured(candidate=answers(buckets={})), CANARY, Wait),
        # errors are not known to be few before the predictor's metrics were seen
        (measured(candidate=answers(buckets={})), Limits(requests=100, error_rate=0.01), Wait),
        (
            measured(candidate=answers(buckets={0.1: 0, math.inf: 0})),
            Limits(requests=100, error_rate=0.01),
            Wait,
        ),
        (measured(joined=100, agreed=90), SHADOW, Pass),
        (measured(joined=100, agreed=89), SHADOW, Fail),
        (measured(joined=99, agreed=99), SHADOW, Wait),
        (measured(joined=0), SHADOW, Wait),
        (measured(seconds=1, joined=20, agreed=5), SHADOW, Fail),
        (measured(seconds=1, joined=20, agreed=12), SHADOW, Wait),
        # rows of a batch count each, requests say when there are enough
        (measured(joined=100, rows=1000, agreed=900), SHADOW, Pass),
        (measured(joined=100, rows=1000, agreed=899), SHADOW, Fail),
        (measured(joined=99, rows=990, agreed=990), SHADOW, Wait),
        (measured(seconds=1, joined=20, rows=200, agreed=99), SHADOW, Fail),
        (measured(seconds=1, joined=20, rows=200, agreed=101), SHADOW, Wait),
        (measured(joined=100, agreed=8), DRIFTED, Pass),
        (measured(joined=100, agreed=0), DRIFTED, Pass),
        (measured(joined=100, agreed=99), DRIFTED, Fail),
        (measured(joined=99, agreed=8), DRIFTED, Wait),
        (measured(seconds=1, joined=60, agreed=60), DRIFTED, Fail),
        (measured(seconds=1, joined=10, agreed=10), DRIFTED, Wait),
        (measured(joined=100, agreed=93), ALIKE, Pass),
        (measured(joined=100, agreed=100), ALIKE, Pass),
        (measured(joined=100, agreed=40), ALIKE, Fail),
        (measured(candidate=answers(50)), Limits(error_rate=0.01), Wait),
        (measured(candidate=answers(100)), Limits(error_rate=0.01), Pass),
        (measured(candidate=answers(0)), Limits(), Wait),
    ],
)
def test_verdicts(seen, limits, expected):
    verdict = analyze_step(seen, limits)
    assert isinstance(verdict, expected)
    assert verdict.reasons


def test_reasons_read_well():
    assert analyze_step(measured(joined=100, agreed=80), SHADOW) == Fail(
        ("agreement 80.0% of 100, must be at least 90.0%",)
    )
    assert analyze_step(measured(3, candidate=answers(7)), CANARY) == Wait(
        ("7 of 100 requests", "3 of 30 s")
    )


def test_a_shadow_that_serves_productions_model_is_told_in_words():
    verdict = analyze_step(measured(joined=500, agreed=495), DRIFTED)
    assert verdict == Fail(
        (
            "agreement 99.0% of 500 with production, expected at most 26.6% from accuracies 0.07 and 0.95 on 300 "
            "recent rows: the candidate may serve the wrong model, or the traffic differs from those rows",
        )
    )
    verdict = analyze_step(measured(joined=500, agreed=50), ALIKE)
    assert (
        "agreement 10.0% of 500 with production, expected at least 76.1% from" in verdict.reasons[0]
    )
    verdict = analyze_step(measured(joined=500, agreed=40), DRIFTED)
    assert (
        "agreement 8.0% of 500, expected 0.0% to 26.6% from accuracies 0.07 and 0.95"
        in verdict.reasons[1]
    )


counts = st.integers(0, 200)


@given(both=counts, production=counts, candidate=counts, neither=counts, share=st.floats(0, 1))
def test_the_exact_bounds_hold_on_the_rows_themselves(both, production, candidate, neither, share):
    """However the right answers lie, and however often two wrong ones are the same wrong one."""
    rows = both + production + candidate + neither
    if not rows:
        return
    low, high = Expected((both + production) / rows, (both + candidate) / rows, rows).exact()
    agreed = (both + round(share * neither)) / rows
    assert low - 1e-9 <= agreed <= high + 1e-9
    assert Expected((both + production) / rows, (both + candidate) / rows, rows).band(
        rows
    ) == pytest.approx(
        Expected((both + candidate) / rows, (both + production) / rows, rows).band(rows)
    )


shares = st.floats(0, 1)


@given(shares, shares, st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_band_holds_the_bounds_and_narrows_with_what_is_seen(
    production, candidate, rows, answers
):
    low, high = Expected(production, candidate, rows).band(answers)
    exact = Expected(production, candidate, rows).exact()
    assert 0 <= low <= exact[0] <= exact[1] + 1e-9
    assert exact[1] <= high <= 1
    for more, seen in ((4 * rows, answers), (rows, 4 * answers)):
        narrower = Expected(production, candidate, more).band(seen)
        assert low - 1e-9 <= narrower[0] <= narrower[1] <= high + 1e-9


@given(st.floats(0, 0.3), st.floats(0.8, 1), st.integers(200, 5000), st.integers(100, 5000))
def test_after_a_drift_the_old_model_in_the_shadows_place_never_passes(
    production, candidate, rows, joined
):
    limits = Limits(requests=100, agreement=Expected(production, candidate, rows))
    assert isinstance(
        analyze_step(measured(candidate=answers(joined), joined=joined, agreed=joined), limits),
        Fail,
    )


@settings(derandomize=True)
@given(shares, shares, shares, st.integers(50, 2000), st.integers(100, 2000), st.integers(0, 2**32))
def test_the_model_that_was_evaluated_passes(production, candidate, overlap, rows, joined, seed):
    """Live rows drawn from the same distribution as the evaluated ones; two wrong answers are alike at random."""
    random = Random(seed)
    low = max(0.0, production + candidate - 1)
    both = low + overlap * (min(production, candidate) - low)

    def drawn(number):
        right = [0, 0, 0]
        for _ in range(number):
            at = random.random()
            mine, theirs = (
                at < candidate,
                at < both or candidate <= at < candidate + production - both,
            )
            right[0] += theirs
            right[1] += mine
            right[2] += (mine and theirs) or (not mine and not theirs and random.random() < 0.5)
        return right

    seen = drawn(rows)
    expected = Expected(seen[0] / rows, seen[1] / rows, rows)
    verdict = analyze_step(
        measured(candidate=answers(joined), joined=joined, agreed=drawn(joined)[2]),
        Limits(requests=100, agreement=expected),
    )
    assert isinstance(verdict, Pass), verdict


RECENT = Recent(
    against="r1",
    rows=73,
    metrics={"accuracy": 0.95, "rmse": 3.0},
    production={"accuracy": 0.07, "rmse": 9.0},
)


def candidate(recent, numbers=None):
    return version("b", recent=recent, rehearsed=Rehearsed(start=1.0, rows=9, numbers=numbers))


NUMBERS = NumbersAlike(against="r1", rows=150, tolerance=4.2, agreement=0.8)


def test_without_accuracies_auto_expects_what_the_rehearsal_saw_of_numbers():
    limits = Limits.of(from_json(RolloutLimits, {"agreement": "auto"}, label="limits"))
    expected = limits.expecting(candidate(None, NUMBERS), "r1")
    assert expected.agreement == ExpectedNumbers(4.2, 0.8, 150)
    assert expected.tolerance == 4.2
    assert limits.expecting(candidate(None, NUMBERS), "r2").agreement is None
    # shares of right answers say more, where there are some
    assert limits.expecting(candidate(RECENT, NUMBERS), "r1").agreement == Expected(0.07, 0.95, 73)
    assert limits.expecting(candidate(RECENT, NUMBERS), "r1").tolerance is None


@pytest.mark.parametrize(("agreed", "verdict"), [(82, Pass), (100, Pass), (70, Pass), (40, Fail)])
def test_numbers_that_differ_more_than_in_the_rehearsal_end_the_rollout(agreed, verdict):
    limits = Limits(requests=100, agreement=ExpectedNumbers(4.2, 0.8, 150))
    seen = Measured(9.0, Answers(100), Answers(100), joined=100, rows=100, agreed=agreed)
    found = analyze_step(seen, limits)
    assert isinstance(found, verdict), found
    assert "within 4.2, 80.0% on 150 recent rows, expected at least 59.2%" in found.reasons[-1]


def test_what_auto_expects_comes_from_the_evaluation():
    limits = Limits.of(
        from_json(RolloutLimits, {"requests": 10, "agreement": "auto"}, label="limits")
    )
    assert (limits.agreement, limits.auto) == (None, "accuracy")
    assert limits.expecting(candidate(RECENT), "r1").agreement == Expected(0.07, 0.95, 73)
    # measured against another production, not at all, or no share of anything
    assert limits.expecting(candidate(RECENT), "r2").agreement is None
    assert limits.expecting(candidate(None), "r1").agreement is None
    for metric in ("rmse", "top1"):
        other = Limits.of(
            from_json(RolloutLimits, {"agreement": "auto", "accuracy": metric}, label="limits")
        )
        assert other.expecting(candidate(RECENT), "r1").agreement is None
    given = Limits.of(from_json(RolloutLimits, {"agreement": 0.8}, label="limits"))
    assert given.expecting(candidate(RECENT), "r1") == given
    assert (
        Limits.of(from_json(RolloutLimits, {"agreement": None}, label="limits"))
        .expecting(candidate(RECENT), "r1")
        .agreement
        is None
    )


@given(
    requests=st.integers(0, 300),
    errors=st.integers(0, 300),
    joined=st.integers(0, 300),
    agreed=st.integers(0, 300),
    needed=st.integers(1, 200),
)
def test_too_little_traffic_never_passes(requests, errors, joined, agreed, needed):
    seen = measured(
        candidate=answers(requests, min(errors, requests)),
        joined=joined,
        agreed=min(agreed, joined),
    )
    verdict = analyze_step(seen, Limits(requests=needed, error_rate=0.05, agreement=0.8))
    if requests < needed or joined < needed:
        assert not isinstance(verdict, Pass)
    if isinstance(verdict, Pass):
        assert seen.candidate.error_rate <= 0.05 + 1e-9
        assert seen.agreed / seen.joined >= 0.8 - 1e-9


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=200))
def test_a_quantile_lies_in_the_right_bucket(times):
    bounds = [0.01, 0.1, 0.25, 0.5, 1.0, math.inf]
    buckets = {bound: sum(time <= bound for time in times) for bound in bounds}
    exact = sorted(times)[math.ceil(0.99 * len(times)) - 1]
    found = quantile(0.99, buckets)
    upper = next(bound for bound in bounds if exact <= bound)
    lower = max([0.0, *(bound for bound in bounds if bound < upper)])
    assert lower - 1e-9 <= found <= min(upper, max(upper, lower)) + 1e-9


def test_numbers_in_words():
    assert measured(candidate=answers(200, 2), joined=50, agreed=49).said == (
        "200 requests, error rate 1.00%, p99 99 ms, 98.0% of 50 answers like production's"
    )
    assert Measured(1.0, Answers(), Answers()).said == "0 requests, error rate 0.00%"


def test_measured_survives_json():
    seen = measured(candidate=answers(200, 2), joined=50, agreed=49)
    assert Measured.from_json(json.loads(json.dumps(seen.to_json()))) == seen
    asked = replace(seen, asked=StageTraffic.of(SHADOW))
    assert Measured.from_json(json.loads(json.dumps(asked.to_json()))) == asked


@pytest.mark.parametrize(
    ("seen", "limits", "waits"),
    [
        (measured(seconds=9.6, candidate=answers(20), joined=18), SHADOW,
         "20 of 100 requests; 18 of 100 answers to compare; 10 of 30 s"),
        (measured(seconds=9.6, candidate=answers(20), joined=18), CANARY, "20 of 100 requests; 10 of 30 s"),
        (measured(candidate=answers(100), joined=100), SHADOW, ""),
        (measured(candidate=answers(5)), Limits(), ""),
    ],
)  # fmt: skip
def test_what_a_stage_waits_for_in_words(seen, limits, waits):
    told = replace(seen, asked=StageTraffic.of(limits))
    assert told.waits == waits
    assert read_last(json.dumps({"now": 1.0, "last": told.to_json()})) == told
    assert seen.waits == ""
    assert read_last('{"now": 1.0, "last": null}') is None


def test_no_requests_no_quantile():
    assert quantile(0.99, {}) is None
    assert quantile(0.99, {0.1: 0, math.inf: 0}) is None


def test_limits_from_the_specs_keys():
    limits = Limits.of(
        from_json(
            RolloutLimits,
            {"for": 600, "requests": 500, "agreement": 0.9, "errorRate": 0.01, "p99": 0.25},
            label="limits",
        )
    )
    assert limits == Limits(600, 500, agreement=0.9, error_rate=0.01, p99=0.25)
    assert (
        Limits.of(from_json(RolloutLimits, {"errorRate": 0.02, "p99": None}, label="limits")).needed
        == 50
    )


@pytest.mark.parametrize(
    "value",
    [
        {"errorrate": 1},
        {"p99": "1s"},
        {"requests": -1},
        {"for": True},
        {"agreement": "most"},
        {"accuracy": 1},
    ],
)
def test_wrong_limits(value):
    with pytest.raises(DocumentError, match="limits"):
        Limits.of(from_json(RolloutLimits, value, label="limits"))


def refusing(refused: int, requests: int = 100) -> Answers:
    return Answers(requests, 0, {0.1: requests, math.inf: requests}, {"400": refused})


MIRRORED = Limits(requests=100, error_rate=0.01, mirrored=True)
SHARED = Limits(requests=100, error_rate=0.01)


@pytest.mark.parametrize(
    ("production", "candidate", "alone", "limits", "expected", "words"),
    [
        # the very requests that production answers
        (0, 600, 600, MIRRORED, Fail, "600 of 600 refused: 400, though production answers them"),
        (0, 1, 1, MIRRORED, Pass, "1 of 100 refused"),
        # production refuses as many, but others
        (50, 50, 50, MIRRORED, Fail, "50 of 100 refused: 400"),
        # the same ones: no id that production alone answered
        (50, 50, 0, MIRRORED, Pass, "0 of 100 refused"),
        # copies that never arrived are nobody's refusals
        (0, 1, 80, MIRRORED, Pass, "1 of 100 refused"),
        # in a canary no request is common: the shares are compared
        (5, 6, 100, SHARED, Pass, "6 of 100 refused: 400, production refuses 5.00%"),
        (5, 7, 100, SHARED, Fail, "7 of 100 refused: 400, production refuses 5.00%"),
    ],
)
def test_what_production_answers_and_the_candidate_refuses(
    production, candidate, alone, limits, expected, words
):
    seen = Measured(
        60.0, refusing(production), refusing(candidate, max(100, candidate)), alone=alone
    )
    verdict = analyze_step(Measured.from_json(json.loads(json.dumps(seen.to_json()))), limits)
    assert type(verdict) is expected
    assert any(words in reason for reason in verdict.reasons), verdict.reasons


def test_refusals_are_told_in_the_commit():
    seen = Measured(60.0, refusing(0), refusing(7))
    assert "7 refused (400)" in seen.said
