"""Hand-overs are read back as they were written, and refused by key, value and what is allowed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.documents import DocumentError, from_json, parse_json, to_json
from driftloop.contract.handovers import (
    DETECTOR_KINDS,
    DetectorSettings,
    GateRule,
    RetrainPolicy,
    RolloutLimits,
    parse_gates,
    write_gates,
)

NUMBERS = st.floats(0, 1e9, allow_nan=False)
BOUNDS = st.none() | st.floats(-1e9, 1e9, allow_nan=False)
MARGINS = st.none() | NUMBERS
POLICIES = st.builds(
    RetrainPolicy,
    consecutive=st.integers(1, 100),
    cooldown=NUMBERS,
    while_running=st.sampled_from(["drop", "remember"]),
    budget=st.none() | st.integers(0, 1000),
    on=st.lists(st.sampled_from(["drift", "outlier"]), unique=True).map(tuple),
)
TIMES = st.none() | st.tuples(st.floats(0, 1e9, exclude_min=True), st.integers(2, 100))
DETECTORS = st.builds(
    lambda timed, kind, on, wait, **settings: DetectorSettings(
        kind,
        on={"quality": "label", "estimate": "response"}.get(kind, on),
        by="cbpe" if kind == "estimate" else None,
        at_most=timed and timed[0],
        least=timed and timed[1],
        wait=wait if kind == "quality" else None,
        **settings,
    ),
    timed=TIMES,
    kind=st.sampled_from(DETECTOR_KINDS),
    on=st.sampled_from(["request", "response"]),
    wait=st.none() | st.floats(1, 1e9),
    window=st.integers(100, 100_000),
    alarm_rate=st.floats(0, 1, exclude_min=True, exclude_max=True),
    seed=st.integers(),
)
GATES = st.builds(
    GateRule,
    metric=st.text(min_size=1),
    on=st.sampled_from(["all", "recent"]),
    min=BOUNDS,
    max=st.floats(-1e9, 1e9, allow_nan=False),
    production_minus=MARGINS,
    production_plus=MARGINS,
)
LIMITS = st.builds(
    RolloutLimits,
    seconds=MARGINS,
    requests=st.none() | st.integers(0, 10**9),
    agreement=st.none() | st.just("auto") | st.floats(0, 1),
    accuracy=st.none() | st.text(min_size=1),
    error_rate=MARGINS,
    p99=MARGINS,
)


@given(record=POLICIES | DETECTORS | GATES | LIMITS)
def test_a_hand_over_reads_back_as_it_was_written(record: Any) -> None:
    text = json.dumps(to_json(record))
    assert from_json(type(record), parse_json(text, label="it"), label="it") == record


@given(rules=st.lists(GATES).map(tuple))
def test_gates_read_back_as_they_were_written(rules: tuple[GateRule, ...]) -> None:
    assert parse_gates(write_gates(rules)) == rules


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (
            RetrainPolicy.parse,
            '{"consecutive": true}',
            "the retrain policy: `consecutive` is `true`, must be an integer from 1 to 100",
        ),
        (
            RetrainPolicy.parse,
            '{"budget": -1}',
            "the retrain policy: `budget` is `-1`, must be a number of runs in 24 hours, or null",
        ),
        (
            RetrainPolicy.parse,
            '{"on": "drift"}',
            'the retrain policy: `on` is `"drift"`, must be a list of detectors',
        ),
        (RetrainPolicy.parse, "3", "the retrain policy is `3`, must be a JSON object"),
        (
            DetectorSettings.parse,
            "{}",
            "the detector's settings has no key `kind`, must be one of: tabular, schema, mmd, ks, cvm, chi2, iforest, "
            "mahalanobis, function, alibi, quality, estimate",
        ),
        (
            DetectorSettings.parse,
            '{"kind": "ks", "window": 1}',
            "the detector's settings: `window` is `1`, must be an integer from 2 to 100000",
        ),
        (parse_gates, "{}", "the gates are `{}`, must be a list"),
        (
            parse_gates,
            '[{"metric": "a"}]',
            "gate 1 has no bound, must have one of: min, max, productionMinus, productionPlus",
        ),
        (
            parse_gates,
            '[{"metric": "a", "min": 1}, {"metric": "", "min": 1}]',
            'gate 2: `metric` is `""`, must be the name of a metric',
        ),
        (
            parse_gates,
            '[{"metric": "a", "mn": 1}]',
            "gate 1 has an unknown key `mn`, must be one of: metric, on, min, max, productionMinus, productionPlus",
        ),
        (
            RolloutLimits.parse,
            '{"p99": NaN}',
            "the rollout's limits: `p99` is `NaN`, must be a number of at least 0",
        ),
        (
            RolloutLimits.parse,
            '{"agreement": "most"}',
            'the rollout\'s limits: `agreement` is `"most"`, must be a number of at least 0, or auto',
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(read: Any, text: str, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        read(text)
    assert error.value.message == message


def test_what_is_not_json_is_said() -> None:
    with pytest.raises(DocumentError, match="the retrain policy is not JSON: "):
        RetrainPolicy.parse("{")
