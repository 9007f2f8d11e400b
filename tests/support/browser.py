"""A real Chromium, driven by Playwright; tests that need one are skipped where there is none."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from driftloop.console.answers import Console
from driftloop.console.serving import listen, serve

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 120_000
"""Milliseconds for what a page shows; Playwright's own 5 s for an expectation are short on a busy machine."""

REPLACED = ("htmx:afterRequest,", "htmx:sendAbort,")
"""What htmx says of a request that a later one took the place of; of one that failed it says `sendError` as well."""

expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Debian's Chromium for the length of a `with`."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (`apt-get install chromium`)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu"],
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


@dataclass
class DocumentReader:
    """Somebody who opens files of pages; what they ask for is kept, and all that the browser's console says."""

    browser: Browser
    said: list[str] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)

    @contextlib.contextmanager
    def open_file(self, file: Path, *, width: int, dark: bool) -> Iterator[Page]:
        """The page of a file, as wide and as bright as said."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            is_mobile=width < 600,
        )
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.requests.add(request.url))
        page.goto(file.as_uri(), wait_until="networkidle")
        yield page
        context.close()


class Visitor:
    """Somebody who has opened the console's address; what the browser complains of is kept."""

    def __init__(
        self, browser: Browser, address: str, *, width: int = 1280, scheme: str = "light"
    ) -> None:
        self.base = address.partition("/enter")[0]
        self.complaints: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.goto(address)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REPLACED):
            self.complaints.append(message.text)

    def visit(self, path: str) -> Page:
        """Open a page; nothing may overflow it."""
        self.page.goto(self.base + path)
        self.page.wait_for_selector("h1")
        assert self.measure_overflow() <= 0, f"{path} is wider than the page"
        return self.page

    def measure_overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wider))

    def shoot(self, name: str) -> None:
        """Keep a picture of the page, where somebody wants pictures."""
        if folder := os.environ.get("DRIFTLOOP_PICTURES"):
            file = f"{name}-{self.page.viewport_size['width']}.png"  # type: ignore[index]
            self.page.screenshot(path=Path(folder) / file, full_page=True)

    def tab_to(self, name: str, most: int = 60) -> None:
        """Press Tab until a link or button of that name has the focus."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.textContent.trim()") == name:
                return
        pytest.fail(f"`{name}` is not reached by the keyboard")


@contextlib.contextmanager
def serve_console(console: Console) -> Iterator[str]:
    """A console that answers on its port, in a thread of its own; its address."""
    up, loop, tasks = threading.Event(), asyncio.new_event_loop(), []

    def run() -> None:
        asyncio.set_event_loop(loop)
        with listen(console.key.port) as listener:
            tasks.append(loop.create_task(serve(console, listener, ready=up.set)))
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(tasks[0])

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(90)
    try:
        yield console.key.address
    finally:
        loop.call_soon_threadsafe(tasks[0].cancel)
        thread.join(30)


def watch_running(visitor: Visitor, name: str, run: str, *, pictures: str | None = None) -> None:
    """Look at each page of a running platform, and let each action end; `pictures` is a folder for them."""
    home = f"/pipelines/{name}"

    def shoot(picture: str) -> None:
        if pictures is not None:
            visitor.page.wait_for_timeout(500)
            visitor.page.screenshot(path=f"{pictures}/console-{picture}.png")

    page = visitor.visit("/")
    page.get_by_role("link", name=name, exact=True).click()
    page.wait_for_url(f"**{home}")
    page.get_by_text(f"{name} is ").wait_for()
    shoot("loop")
    page = visitor.visit(f"/runs/{run}")
    for step in ("claim", "snapshot", "train"):
        expect(page.locator(".step-name", has_text=step).first).to_be_visible()
    page.get_by_role("link", name="train", exact=False).last.click()
    expect(page.locator("#log")).to_be_visible()
    shoot("run")
    page = visitor.visit(f"{home}/releases")
    page.locator("td a.mono").first.click()
    expect(page.get_by_text("git revert")).to_be_visible()
    expect(page.locator(".trace li").nth(3)).to_be_visible(timeout=180_000)
    visitor.visit(f"{home}/releases")
    shoot("releases")
    for path in (f"{home}/drift", f"{home}/rollout", f"{home}/runs", "/events", "/requests"):
        visitor.visit(path)
    assert act(visitor, name, "halt", "Halt it", Reason="for a moment").endswith("done")
    visitor.visit(home)
    expect(page.locator("h1 .badge")).to_have_text("halted")
    visitor.visit("/")
    expect(page.locator(f"#pipeline-{name}.person")).to_be_visible()
    shoot("overview")
    assert act(visitor, name, "resume", "Resume it").endswith("done")
    assert act(visitor, name, "rollback", "Roll back").endswith("refused")
    expect(page.get_by_role("alert")).to_contain_text("has no previous version to roll back to")
    assert act(visitor, name, "trigger", "Start the run", Cause="from a page").endswith("done")
    visitor.visit("/runs")


def act(visitor: Visitor, name: str, action: str, button: str, **fields: str) -> str:
    """Confirm an action on its page, and return the title of its end."""
    page = visitor.visit(f"/pipelines/{name}/act/{action}")
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name=button).click()
    page.wait_for_url("**/jobs/*")
    ended = page.locator("h1 .badge", has_not_text="running")
    ended.wait_for(timeout=240_000)
    return page.locator("h1").inner_text()
