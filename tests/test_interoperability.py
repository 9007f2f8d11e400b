"""The page of what people have already: each row has a guide and tests that exist, or says no."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/guides/interoperability.md"
NEEDED = (
    "WorkflowTemplates", "Flux", "overlays", "several clusters", "tenants", "Argo CD", "Sealed Secrets", "External Secrets",
    "SOPS", "S3", "Azure", "mesh", "registry",
)  # fmt: skip
"""What has a row, whatever it says."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    have: str
    says: str
    guides: tuple[str, ...]
    tests: tuple[str, ...]


def read_rows() -> list[Row]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert {len(row) for row in cells} == {4}
    return [
        Row(
            have,
            says,
            tuple(re.findall(r"\]\(([^)]+)\)", guide)),
            tuple(re.findall(r"`([^`]+)`", tests)),
        )
        for have, says, guide, tests in cells
    ]


ROWS = read_rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.have)
def test_a_row_has_guides_and_tests_that_exist_or_says_no(row: Row) -> None:
    if not row.says.startswith("no"):
        assert row.guides, "no guide"
        assert row.tests, "no test"
    for guide in row.guides:
        page, _, anchor = guide.partition("#")
        text = (PAGE.parent / page).read_text()
        slugs = {make_slug(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        assert not anchor or anchor in slugs, f"{page} has no heading #{anchor}: {sorted(slugs)}"
    for test in row.tests:
        assert (ROOT / test).exists(), f"{test} does not exist"


@pytest.mark.parametrize("word", NEEDED)
def test_each_of_these_has_a_row(word: str) -> None:
    assert [row for row in ROWS if word in row.have], f"no row says {word}"


def make_slug(title: str) -> str:
    """Return a heading's anchor as the site has it."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text)).strip("-")
