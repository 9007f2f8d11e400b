"""What `scripts/pictures` does once a demo runs: its console is opened in Debian's Chromium.

.venv/bin/python scripts/pictures.py ADDRESS PIPELINE FOLDER

ADDRESS is what `driftloop console` prints.
"""

import base64
import re
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, TALLEST = 1100, 1300
CONVERT = """async (encoded) => {
  const bitmap = await createImageBitmap(await (await fetch('data:image/png;base64,' + encoded)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  const blob = await canvas.convertToBlob({type: 'image/webp', quality: 0.82});
  let text = '';
  for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
  return btoa(text);
}"""
"""A PNG as WebP, a fifth of its size: the browser knows how."""


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    address, name, folder = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        converter = browser.new_page()
        for picture, content in take_pictures(browser, address, name):
            file = Path(folder) / f"{picture}.webp"
            encoded = base64.b64encode(content).decode()
            file.write_bytes(base64.b64decode(converter.evaluate(CONVERT, encoded)))
            print(file, file.stat().st_size)
        browser.close()


def take_pictures(browser: Browser, address: str, name: str) -> list[tuple[str, bytes]]:
    """Return pictures as PNG, by name, without the path of the state folder below each page."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 800})
    page.set_default_timeout(120_000)
    page.goto(address)
    taken = []
    for picture, path in list_pages(page, address.partition("/enter")[0], name):
        page.goto(path)
        page.wait_for_timeout(3000)
        page.evaluate("document.querySelector('footer')?.remove()")
        tall = min(page.evaluate("document.body.scrollHeight"), TALLEST)
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": tall}
        taken.append((f"console-{picture}", page.screenshot(full_page=True, clip=clip)))
    return taken


def list_pages(page: Page, base: str, name: str) -> list[tuple[str, str]]:
    """Return names of pictures and the pages of them: of windows the first one that alarms, of runs and
    releases those of the promotion."""
    home = f"{base}/pipelines/{name}"

    def find(path: str, selector: str, text: str) -> str:
        page.goto(path)
        row = page.locator("tr", has=page.locator(".badge", has_text=re.compile(f"^{text}$")))
        found = row.locator(selector)
        return (found.first.get_attribute("href") or "") if found.count() else ""

    page.goto(f"{home}/drift")
    alarms = page.locator("tr", has=page.locator(".badge", has_text=re.compile("^alarm$")))
    window = (alarms.last.locator("a").first.get_attribute("href") or "").partition("#")[0]
    run = find(f"{home}/runs", "td a.mono", "released")
    release = find(f"{home}/releases", "td a.mono", "taken back")
    return [
        ("overview", f"{base}/"),
        ("loop", home),
        ("drift", f"{home}/drift"),
        ("window", f"{home}/drift{window}"),
        ("runs", f"{home}/runs"),
        ("run", f"{base}{run}"),
        ("rollout", f"{home}/rollout"),
        ("releases", f"{home}/releases"),
        ("release", f"{base}{release}"),
        ("spec", f"{home}/spec"),
    ]


if __name__ == "__main__":
    main()
