"""The generated page of finding codes is up to date."""

from pathlib import Path

from driftloop.check import RULES
from driftloop.check.explanation import explained, reference
from driftloop.operations.project.explain import read_example

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "findings.md"


def test_the_page_is_up_to_date(update: bool) -> None:
    examples = {rule.code: text for rule in RULES if (text := read_example(rule.code)) is not None}
    content = reference(examples)
    if update:
        PAGE.write_text(content)
    assert PAGE.read_text() == content, "run `pytest tests/check/test_reference.py --update`"


def test_an_explanation_says_why_what_to_do_and_shows_it() -> None:
    rule = next(rule for rule in RULES if rule.code == "DL401")
    said = explained(rule, read_example("DL401"))
    assert said.startswith("DL401  The traffic of a SeldonDeployment does not sum to 100  (error)")
    assert "why: Seldon's admission webhook refuses" in said
    assert "    traffic: 20  # bad here" in said
