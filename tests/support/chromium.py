"""Debian's Chromium, driven by its own protocol: what a page asks for, what its console says, how it looks."""

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PROGRAM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="Debian's `chromium` is not installed")
START = 30.0
QUIET = 0.2
"""Seconds without anything new after which a page has settled."""


@dataclass
class BrowserPage:
    """One tab."""

    socket: aiohttp.ClientWebSocketResponse
    errors: list[str] = field(default_factory=list)
    """What the console said: errors, warnings, exceptions."""
    requests: list[str] = field(default_factory=list)
    """Addresses that were asked for."""
    _count: int = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        number = self._count
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=START)
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled":
                self.errors.append(json.dumps(params["args"])[:500])
            case "Log.entryAdded":
                self.errors.append(params["entry"]["text"])

    async def open(self, url: str, *, width: int = 1600, dark: bool = False) -> None:
        """Open an address, as wide and as bright as said, and wait until it has loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        await self.call("Page.navigate", url=url)
        while await self.evaluate("document.readyState") != "complete":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(QUIET)
        await self.call("Page.getFrameTree")

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    async def take_picture(self, file: Path) -> None:
        """Write the whole page as a PNG."""
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))


@asynccontextmanager
async def open_browser() -> AsyncIterator[BrowserPage]:
    """Start Chromium with one tab; it ends with the `with`."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        try:
            port = await asyncio.wait_for(_read_port(Path(profile)), START)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    tabs = await answer.json()
                tab = next(each for each in tabs if each["type"] == "page")
                async with session.ws_connect(
                    tab["webSocketDebuggerUrl"], max_msg_size=0
                ) as socket:
                    page = BrowserPage(socket)
                    for domain in ("Page", "Runtime", "Log", "Network"):
                        await page.call(f"{domain}.enable")
                    yield page
        finally:
            process.kill()
            await process.wait()


async def _read_port(profile: Path) -> int:
    file = profile / "DevToolsActivePort"
    while not file.exists() or not file.read_text().strip():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
