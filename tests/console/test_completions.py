"""Completions of a spec at a place of its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.console.views.completions import list_completions
from driftloop.spec.load import schema

SCHEMA = schema()
BEGIN = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata:
  name: digits
spec:
"""


def complete(text: str, line: int | None = None) -> list[str]:
    """What is offered at the end of a line, of the last one without its number."""
    lines = text.split("\n")
    line = line or len(lines)
    return [each.text for each in list_completions(SCHEMA, text, line, len(lines[line - 1])).offers]


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("  ro", ["rollout:"]),
        ("  monitors:\n    drift:\n      det", ["detector: "]),
        ("  monitors:\n    drift:\n      detector: iso", []),
        ("  monitors:\n    drift:\n      detector: ifo", ["iforest"]),
        (
            "  evaluate:\n    gates:\n      - metric: a\n        produ",
            ["productionMinus: ", "productionPlus: "],
        ),
        ("  evaluate:\n    gates:\n      - metric: a\n      - met", ["metric: "]),
        ("  evaluate:\n    gates:\n    - met", ["metric: "]),
        ("  evaluate:\n    gates:\n      - metric: a\n        # words\n\n        met", []),
        ("  rollout:\n    shadow:\n      ag", ["agreement: "]),
        ("  nothing:\n    such:\n      a", []),
        ("  serve: {mo", []),
    ],
)
def test_a_place_has_what_the_schema_has_for_it(written: str, offered: list[str]) -> None:
    assert complete(BEGIN + written) == offered


def test_keys_that_are_there_are_not_offered_again() -> None:
    text = f"{BEGIN}  serve:\n    model: Digits\n    \n    replicas: 2\n"
    offered = complete(text, 8)
    assert "backend: " in offered
    assert not {"model: ", "replicas: "} & set(offered)


def test_a_key_says_what_it_is_for() -> None:
    (only,) = list_completions(SCHEMA, f"{BEGIN}  rollo", 6, 7).offers
    assert only.about


@given(st.text("ab:- \n{}#\t'", max_size=200), st.integers(-3, 30), st.integers(-3, 80))
def test_no_text_is_too_broken(text: str, line: int, column: int) -> None:
    list_completions(SCHEMA, text, line, column)
