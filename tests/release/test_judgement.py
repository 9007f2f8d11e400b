import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ReleaseError
from pipeline.release.judgement import Answers, Fail, Limits, Measured, Pass, Wait, judge, quantile

FAST = {0.1: 99, 0.25: 100, math.inf: 100}


def answers(requests: int = 100, errors: int = 0, buckets=None) -> Answers:
    if buckets is None:
        buckets = {0.1: requests, math.inf: requests}
    return Answers(requests, errors, buckets)


def measured(seconds=60.0, production=None, candidate=None, joined=0, agreed=0) -> Measured:
    return Measured(seconds, production or answers(1000), candidate or answers(), joined, agreed)


CANARY = Limits(seconds=30, requests=100, error_rate=0.01, p99=0.25)
SHADOW = Limits(seconds=30, requests=100, agreement=0.9)


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
        (measured(joined=100, agreed=90), SHADOW, Pass),
        (measured(joined=100, agreed=89), SHADOW, Fail),
        (measured(joined=99, agreed=99), SHADOW, Wait),
        (measured(joined=0), SHADOW, Wait),
        (measured(seconds=1, joined=20, agreed=5), SHADOW, Fail),
        (measured(seconds=1, joined=20, agreed=12), SHADOW, Wait),
        (measured(candidate=answers(50)), Limits(error_rate=0.01), Wait),
        (measured(candidate=answers(100)), Limits(error_rate=0.01), Pass),
        (measured(candidate=answers(0)), Limits(), Wait),
    ],
)
def test_verdicts(seen, limits, expected):
    verdict = judge(seen, limits)
    assert isinstance(verdict, expected)
    assert verdict.reasons


def test_reasons_read_well():
    assert judge(measured(joined=100, agreed=80), SHADOW) == Fail(("agreement 80.0% of 100, asked 90.0%",))
    assert judge(measured(3, candidate=answers(7)), CANARY) == Wait(("7 of 100 requests", "3 of 30 s"))


@given(
    requests=st.integers(0, 300),
    errors=st.integers(0, 300),
    joined=st.integers(0, 300),
    agreed=st.integers(0, 300),
    needed=st.integers(1, 200),
)
def test_too_little_traffic_never_passes(requests, errors, joined, agreed, needed):
    seen = measured(candidate=answers(requests, min(errors, requests)), joined=joined, agreed=min(agreed, joined))
    verdict = judge(seen, Limits(requests=needed, error_rate=0.05, agreement=0.8))
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


def test_no_requests_no_quantile():
    assert quantile(0.99, {}) is None
    assert quantile(0.99, {0.1: 0, math.inf: 0}) is None


def test_limits_from_the_specs_keys():
    limits = Limits.from_json({"for": 600, "requests": 500, "agreement": 0.9, "errorRate": 0.01, "p99": 0.25})
    assert limits == Limits(600, 500, 0.9, 0.01, 0.25)
    assert Limits.from_json({"errorRate": 0.02, "p99": None}).needed == 50


@pytest.mark.parametrize("value", [{"errorrate": 1}, {"p99": "250ms"}, {"requests": -1}, {"for": True}])
def test_wrong_limits(value):
    with pytest.raises(ReleaseError, match="limit"):
        Limits.from_json(value)
