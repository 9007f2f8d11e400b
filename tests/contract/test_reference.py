"""docs/reference/contract.md says what the contract says."""

from pathlib import Path

from tests.contract.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "contract.md"


def test_the_page_is_up_to_date(update: bool) -> None:
    content = reference()
    if update:
        PAGE.write_text(content)
    assert PAGE.read_text() == content, "run `pytest tests/contract/test_reference.py --update`"
