"""A report is one page: it asks for nothing, runs nothing, and is of bounded size, whatever is in it."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from support.browser import DocumentReader, open_browser

from driftloop.pages.documents import render_document
from driftloop.pages.reports import LARGEST, draw_report
from tests.pages import samples
from tests.pages.samples import HOSTILE

VOID = {"meta", "link", "img", "br", "rect", "line", "circle", "polyline"}


class Tags(HTMLParser):
    """The tags of a page, and those that are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"{tag} closes what is not open: {self.open}"


def test_a_report_is_one_page_that_runs_and_loads_nothing() -> None:
    text = draw_report(samples.report(HOSTILE))
    tags = Tags(text)
    assert not tags.open
    assert not tags.seen & {"script", "img", "iframe", "object"}
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert "style" not in tags.attributes, "a strict policy forbids it"
    assert not [link for link in tags.links if not link.startswith("#")]
    assert "default-src 'none'" in text.replace("&#39;", "'")
    assert text == draw_report(samples.report(HOSTILE)), "the same each time"


def test_a_report_is_bounded_and_says_what_is_left_out() -> None:
    long = samples.report("digits", columns=20, count=500)
    runs = tuple(
        replace(long.runs[0], run=f"digits-{number}", cause="x" * 3000) for number in range(200)
    )
    story = long.story * 200
    monitors = tuple(
        replace(long.monitors[0], line=replace(long.monitors[0].line, name=f"m{number}"))
        for number in range(12)
    )
    text = draw_report(replace(long, runs=runs, story=story, monitors=monitors))
    assert len(text.encode()) <= LARGEST
    assert "of 200." in text
    assert "of 1000 entries" in text


def test_a_report_of_a_pipeline_without_anything_is_a_page() -> None:
    bare = samples.report("digits")
    nothing = replace(
        bare, story=(), splits=(), lines=(), commits=(), monitors=(), runs=(), rollouts=(), notes=()
    )  # fmt: skip
    assert not Tags(draw_report(nothing)).open


def test_values_of_a_template_are_escaped() -> None:
    assert "<script>" not in render_document("base.html", title=HOSTILE)


def test_a_report_in_a_browser_asks_for_nothing_and_fits(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(draw_report(samples.report(HOSTILE)), encoding="utf-8")
    with open_browser() as browser:
        reader = DocumentReader(browser)
        for width in (360, 1600):
            for dark in (False, True):
                with reader.open_file(file, width=width, dark=dark) as page:
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{wide} px are {width} px wide"
                    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
                    assert paper == ("rgb(18, 22, 29)" if dark else "rgb(255, 255, 255)")
                    assert page.evaluate("document.scripts.length") == 0
        assert reader.said == []
        assert reader.requests == {file.as_uri()}
