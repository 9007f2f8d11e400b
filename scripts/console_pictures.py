"""The pictures of docs/guides/console.md, of a platform that runs: its console is opened in Debian's Chromium.

driftloop console                               # prints ADDRESS
.venv/bin/python scripts/console_pictures.py ADDRESS PIPELINE docs/guides/pictures
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, TALLEST = 1100, 1500


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    address, name, folder = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800})
        page.set_default_timeout(120_000)
        page.goto(address)
        for picture, path in list_pictures(page, address.partition("/enter")[0], name):
            page.goto(path)
            page.wait_for_timeout(1500)
            tall = min(page.evaluate("document.body.scrollHeight"), TALLEST)
            clip = {"x": 0, "y": 0, "width": WIDTH, "height": tall}
            file = Path(folder) / f"console-{picture}.png"
            page.screenshot(path=file, full_page=True, clip=clip)
            print(file)
        browser.close()


def list_pictures(page: Page, base: str, name: str) -> list[tuple[str, str]]:
    """Return names of pictures and the pages of them: of windows the first one that alarms, of runs the last."""
    home = f"{base}/pipelines/{name}"
    page.goto(f"{home}/drift")
    alarms = page.locator("tr", has=page.locator(".badge", has_text=re.compile("^alarm$")))
    window = alarms.last.locator("a").first.get_attribute("href") or ""
    page.goto(f"{home}/runs")
    run = page.locator("td a.mono").first.get_attribute("href") or ""
    return [
        ("overview", f"{base}/"),
        ("loop", home),
        ("drift", f"{home}/drift"),
        ("window", f"{home}/drift{window.partition('#')[0]}"),
        ("run", f"{base}{run}"),
        ("releases", f"{home}/releases"),
    ]


if __name__ == "__main__":
    main()
