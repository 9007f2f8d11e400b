"""Pages in a real browser: each one, small and wide, dark and light, by keyboard, and as things change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from support.barriers import list_barriers
from support.browser import Visitor, open_browser, serve_console
from support.console_world import (
    StoredSource,
    build_status,
    keep,
    make_window,
    open_console,
    recent,
    store_windows,
    tell_verdicts,
)
from support.processes import Process, url
from support.recorder import object_store
from support.stored_runs import Shelf

from driftloop.console import collector
from driftloop.console.answers import Console
from driftloop.console.source import RepositoryPicture
from driftloop.contract.outcomes import RunOutcome
from driftloop.local.ground.state import free_port
from tests.console.conftest import RUNS
from tests.console.test_pages import ALL, PIPELINE
from tests.steps.conftest import KEY, SECRET

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def console(shelf: Shelf, source: StoredSource) -> Console:
    return open_console(shelf, source, port=free_port())


@pytest.fixture
def address(console: Console) -> Iterator[str]:
    with serve_console(console) as address:
        yield address


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_each_page_in_a_browser(browser: Browser, address: str, width: int, scheme: str) -> None:
    visitor = Visitor(browser, address, width=width, scheme=scheme)
    barriers: list[str] = []
    for path in ALL:
        page = visitor.visit(path)
        assert page.title() != "taken", path
        small = page.evaluate(
            "[...document.querySelectorAll('a.button, button')].filter(e => e.getBoundingClientRect().height < 24).length"
        )
        assert small == 0, path
        barriers += [f"{path} {barrier}" for barrier in list_barriers(page)]
    page = visitor.visit(f"{PIPELINE}/releases")
    page.locator("td a.mono").first.click()
    expect(page.get_by_text("has no `card`")).to_be_visible()
    barriers += list_barriers(page)
    page.wait_for_timeout(500)
    assert visitor.complaints == []
    assert barriers == [], "\n".join(barriers)


def test_a_page_follows_what_happens_and_two_people_see_the_same(
    browser: Browser, address: str, source: StoredSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Visitor(browser, address), Visitor(browser, address)
    pages = [first.visit("/"), second.visit(PIPELINE)]
    keep(
        source, decisions={"digits.digits": "halted"}, loops={"digits.digits": "was halted by eve"}
    )
    for page in pages:
        expect(page.get_by_text("was halted by eve").first).to_be_visible()
    source.status = None
    for page in pages:
        expect(page.get_by_text("nothing runs here").first).to_be_visible()
    source.status = build_status()
    for page in pages:
        expect(page.get_by_text("nothing runs here")).to_have_count(0)
    assert first.complaints == second.complaints == []
    monkeypatch.setattr(source, "read_repository", lambda _: RepositoryPicture("b" * 40))
    keep(source, decisions={}, releases={})
    expect(pages[0].get_by_text("No pipeline here yet")).to_be_visible()
    removed = pages[1].get_by_role("alert").filter(has_text="there is no pipeline `digits` here")
    expect(removed).to_be_visible()


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[Process]:
    server = object_store(tmp_path / "s3", free_port(), (KEY, SECRET)).start()
    yield server
    server.kill()


def test_a_store_that_dies_is_missed_and_comes_back(
    browser: Browser,
    nats_server: Process,
    s3_server: Process,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last that was known stays, and nobody has to load the page again."""
    monkeypatch.setattr(collector, "STORE_PERIOD", 1.0)
    shelf = Shelf.open(tmp_path, f"http://127.0.0.1:{s3_server.port}")
    shelf.put_run(RUNS[0], outcome=RunOutcome.now("refused", "accuracy 0.6"))
    source = StoredSource(shelf.state, url(nats_server))
    source.records = [("digits", "digits", make_window(1, at=recent(1), alarm=True))]
    tell_verdicts(source)
    store_windows(url(nats_server), source.records)
    runs, drift = ("/runs", RUNS[0]), (f"{PIPELINE}/drift?window=1", "hue median 1 -> 1.02")
    with serve_console(open_console(shelf, source, port=free_port())) as address:
        visitors = [
            Visitor(browser, address, width=width, scheme=scheme)
            for width, scheme in ((360, "dark"), (1600, "light"))
        ]
        for server, part, (path, known), word in (
            (nats_server, "windows", drift, "no connection to NATS"),
            (s3_server, "runs", runs, "127.0.0.1"),
        ):
            for visitor in visitors:
                page = visitor.visit(path)
                expect(page.get_by_text(known).first).to_be_visible()
                page.evaluate("window.opened = 'once'")
            server.kill()
            for visitor in visitors:
                notice = visitor.page.locator("#live .notice.bad", has_text=part)
                expect(notice).to_contain_text("Since ")
                expect(notice).to_contain_text(word)
                expect(visitor.page.get_by_text(known).first).to_be_visible()
                visitor.shoot(f"away-{part}")
                assert visitor.measure_overflow() <= 0
                assert list_barriers(visitor.page) == []
            server.start()
            for visitor in visitors:
                page = visitor.page
                expect(page.locator("#live .notice.bad")).to_have_count(0)
                expect(page.get_by_text(known).first).to_be_visible()
                assert page.evaluate("window.opened") == "once"
        assert [visitor.complaints for visitor in visitors] == [[], []]


def test_an_action_by_keyboard_alone(browser: Browser, address: str) -> None:
    visitor = Visitor(browser, address)
    page = visitor.visit("/")
    visitor.tab_to("digits")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pipelines/digits")
    visitor.tab_to("Halt")
    page.keyboard.press("Enter")
    page.wait_for_url("**/act/halt")
    visitor.tab_to("Halt it")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    expect(page.get_by_role("alert")).to_contain_text("nothing runs in")
    assert visitor.complaints == []


def test_what_somebody_fills_in_is_not_taken_away(
    browser: Browser, address: str, source: StoredSource
) -> None:
    visitor = Visitor(browser, address)
    page = visitor.visit("/runs")
    page.get_by_label(f"Compare {RUNS[0]}").check()
    page.get_by_label(f"Compare {RUNS[1]}").check()
    keep(source, decisions={"digits.digits": "held"})
    page.wait_for_timeout(6000)
    assert page.get_by_label(f"Compare {RUNS[0]}").is_checked()
    page.get_by_role("button", name="Compare the chosen").click()
    expect(page.get_by_text("values differ")).to_be_visible()
    assert visitor.complaints == []


def test_a_draft_is_checked_and_planned_as_one_types(browser: Browser, address: str) -> None:
    visitor = Visitor(browser, address)
    page = visitor.visit(f"{PIPELINE}/spec")
    draft = page.get_by_label("pipeline.yaml as it is committed")
    text = draft.input_value()
    draft.fill(text.replace("window: 50", "window: many"))
    expect(page.get_by_text("line 15", exact=True)).to_be_visible()
    draft.fill(f"{text}  ro")
    draft.press("End")
    page.get_by_role("button", name="rollout:").wait_for()
    draft.press("Control+ ")
    page.keyboard.press("Enter")
    assert draft.input_value().endswith("  rollout:")
    draft.fill(text.replace("window: 50", "window: 70"))
    expect(page.get_by_text("monitors.drift.window")).to_be_visible()
    assert visitor.complaints == []
