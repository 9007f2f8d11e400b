import json

import pytest

from driftloop.errors import ReleaseError
from driftloop.release import gates


def verdict(gate, candidate, production=None, on="all"):
    def side(value):
        return None if value is None else {"all": {}, "recent": {}} | {on: {"accuracy": value}}

    parsed = gates.parse_gate_rules(json.dumps([{"metric": "accuracy", **gate}]))
    return gates.judge_gates(parsed, {"candidate": side(candidate), "production": side(production)})


@pytest.mark.parametrize(
    ("gate", "candidate", "production", "passed"),
    [
        ({"min": 0.9}, 0.9, None, True),
        ({"min": 0.9}, 0.89, None, False),
        ({"max": 0.1}, 0.1, None, True),
        ({"max": 0.1}, 0.11, None, False),
        ({"min": 0, "max": 1}, 0.5, None, True),
        ({"min": 0, "max": 1}, 1.5, None, False),
        ({"productionMinus": 0.25}, 0.5, 0.75, True),
        ({"productionMinus": 0.25}, 0.49, 0.75, False),
        ({"productionMinus": 0}, 0.75, 0.75, True),
        ({"productionMinus": 0}, 0.74, 0.75, False),
        ({"productionPlus": 0.25}, 1.0, 0.75, True),
        ({"productionPlus": 0.25}, 1.01, 0.75, False),
        # the first release has nothing to be compared with
        ({"productionMinus": 0.1}, 0.01, None, True),
        ({"productionMinus": 0.1, "min": 0.5}, 0.01, None, False),
    ],
)
def test_bounds(gate, candidate, production, passed):
    assert verdict(gate, candidate, production).passed is passed


def test_recent_rows_are_their_own():
    assert not verdict({"on": "recent", "min": 0.9}, 0.5, on="recent").passed
    with pytest.raises(
        ReleaseError,
        match="the gate on `accuracy` has no value for the candidate, the evaluation returned: nothing",
    ):
        verdict({"on": "recent", "min": 0.9}, 0.95, on="all")


def test_reasons_name_what_refused_it():
    found = gates.judge_gates(
        gates.parse_gate_rules(
            '[{"metric": "a", "min": 1}, {"metric": "b", "on": "recent", "productionMinus": 0.1}]'
        ),
        {
            "candidate": {"all": {"a": 2}, "recent": {"b": 0.5}},
            "production": {"all": {}, "recent": {"b": 0.7}},
        },
    )
    assert found.reasons == ("b on recent data 0.5, must be at least 0.6",)
    assert found.to_json()["passed"] is False
    assert json.dumps(found.to_json())


def test_no_gates_let_everything_pass():
    assert gates.judge_gates((), {"candidate": None}).passed


@pytest.mark.parametrize("value", [True, "0.9", float("nan"), float("inf")])
def test_what_is_no_number(value):
    with pytest.raises(ReleaseError, match="must be a finite number"):
        gates.judge_gates(
            gates.parse_gate_rules('[{"metric": "a", "min": 1}]'),
            {"candidate": {"all": {"a": value}}},
        )


@pytest.mark.parametrize("text", ["", "{}", '[{"metric": "a"}]', '[{"metric": "a", "mn": 1}]'])
def test_gates_that_cannot_be_read(text):
    with pytest.raises(ReleaseError, match="the gates can't be read"):
        gates.parse_gate_rules(text)


@pytest.mark.parametrize("metrics", [{}, {"candidate": None}, {"candidate": {"recent": {"a": 1}}}])
def test_a_candidate_that_was_not_evaluated(metrics):
    with pytest.raises(ReleaseError, match="the candidate was not evaluated on all rows"):
        gates.judge_gates(gates.parse_gate_rules('[{"metric": "a", "min": 1}]'), metrics)


@pytest.mark.parametrize(
    ("gate", "alone", "passed", "reason"),
    [
        (
            {"min": 0.9},
            False,
            False,
            "`evaluate.ifProductionFails: judge-alone` lets a candidate pass",
        ),
        ({"min": 0.9}, True, True, "production is not comparable: KeyError: 'age'"),
        ({"min": 0.96}, True, False, "accuracy 0.95, must be at least 0.96"),
        ({"min": 0.9, "productionMinus": 0}, True, True, "no production to compare with"),
    ],
)
def test_without_a_production_to_compare_with_a_candidate_passes_alone_or_not_at_all(
    gate, alone, passed, reason
):
    found = gates.judge_gates(
        gates.parse_gate_rules(json.dumps([{"metric": "accuracy", **gate}])),
        {
            "candidate": {"all": {"accuracy": 0.95}},
            "production": None,
            "notComparable": "KeyError: 'age'",
        },
        alone=alone,
    )
    assert found.passed is passed
    assert any(reason in text for text in found.reasons), found.reasons
    assert found.to_json()["notComparable"] == "KeyError: 'age'"
