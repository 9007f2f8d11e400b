"""Barriers of a page, as axe-core finds them: what keeps somebody from a part of it."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE = ("serious", "critical")
"""What axe-core calls a barrier that keeps somebody from a part of a page."""


def list_barriers(page: Page) -> list[str]:
    """What keeps people from using a page, as axe-core finds it, bright and dark."""
    found = _run_axe(page)
    scheme = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.emulate_media(color_scheme="light" if scheme else "dark")
    found += _run_axe(page, "color-contrast", "link-in-text-block")
    page.emulate_media(color_scheme="dark" if scheme else "light")
    return sorted(set(found))


def _run_axe(page: Page, *rules: str) -> list[str]:
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    results = Axe().run(page, options=options).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {' '.join(node['failureSummary'].split())[:300]}"
        for each in results
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]
