"""A card says the same as Markdown and as a page, and nothing in it is taken for markup."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.browser import DocumentReader, open_browser

from driftloop.pages.cards import CardSection, CardTable, ModelCard, draw_card, write_card
from tests.pages.samples import HOSTILE
from tests.pages.test_reports import Tags


def card(text: str) -> ModelCard:
    return ModelCard(
        text,
        "r1a2b3c4d",
        (
            CardSection("Overview", facts=(("owner", text), (text, "value"))),
            CardSection("Limits", text=(text,)),
            CardSection("Data", tables=(CardTable(("column", "values"), ((text, "1 | 2"),)),)),
        ),
        "2026-01-31T10:00:00Z",
    )


def test_a_page_runs_and_loads_nothing() -> None:
    text = draw_card(card(HOSTILE))
    tags = Tags(text)
    assert not tags.open
    assert not tags.seen & {"script", "img", "iframe", "object"}
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert not [link for link in tags.links if not link.startswith("#")]
    assert "default-src 'none'" in text.replace("&#39;", "'")
    assert "prefers-color-scheme: dark" in text


def test_a_card_in_a_browser_asks_for_nothing_and_fits(tmp_path: Path) -> None:
    file = tmp_path / "card.html"
    file.write_text(draw_card(card("sha256:" + "f" * 64)), encoding="utf-8")
    with open_browser() as browser:
        reader = DocumentReader(browser)
        for dark in (False, True):
            with reader.open_file(file, width=360, dark=dark) as page:
                assert page.evaluate("document.documentElement.scrollWidth") <= 360
                paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert paper == ("rgb(18, 22, 29)" if dark else "rgb(255, 255, 255)")
        assert reader.said == []
        assert reader.requests == {file.as_uri()}


@given(st.text())
def test_markdown_shows_values_as_they_are(text: str) -> None:
    lines = write_card(card(text)).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        lines[0], "## Overview", "## Limits", "## Data",
    ]  # fmt: skip
    assert not re.search(r"<[^>]*>", "\n".join(lines))
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 3
    for row in rows:
        # a cell's own bars are escaped
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
