"""Envoy's files on disk: replaced by rename, and waited for until Envoy's own statistics say that it took them."""

import asyncio
import json
import time
from pathlib import Path

import aiohttp

from pipeline.errors import LocalError
from pipeline.runtimes.local import envoy
from pipeline.runtimes.local.state import replace

_SCOPES = {
    "cds": "cluster_manager.cds",
    "lds": "listener_manager.lds",
    "gateway": "http.gateway.rds.gateway",
    "proxy": "http.proxy.rds.proxy",
}
"""Where the statistics of each file stand."""


class Front:
    """The one Envoy's configuration. `apply` returns when Envoy answers from it."""

    def __init__(self, folder: Path, *, gateway: int, proxy: int, admin: int) -> None:
        self._folder = folder
        self._admin = admin
        self._taken: dict[str, str] = {}
        self._clusters: list[envoy.Resource] = []
        self.bootstrap = folder / "bootstrap.json"
        folder.mkdir(parents=True, exist_ok=True)
        replace(
            self.bootstrap,
            json.dumps(envoy.bootstrap(str(folder), gateway=gateway, proxy=proxy, admin=admin), indent=1),
        )
        for name, resources in envoy.files(envoy.Routes(), admin=admin).items():
            replace(folder / f"{name}.json", envoy.document(resources)[0])

    async def apply(self, routes: envoy.Routes, *, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Make before break: new clusters, then listeners and routes, then the clusters nobody names any more.

        LocalError when Envoy rejects it (the previous routes stay) or does not answer in time.
        """
        files = envoy.files(routes, admin=self._admin)
        deadline = time.monotonic() + timeout
        for name, resources in (
            ("cds", envoy.joined(files["cds"], self._clusters)),
            ("lds", files["lds"]),
            ("gateway", files["gateway"]),
            ("proxy", files["proxy"]),
            ("cds", files["cds"]),
        ):
            text, version = envoy.document(resources)
            if self._taken.get(name) == version:
                continue
            rejected = _counter(await self._stats(name), name)
            replace(self._folder / f"{name}.json", text)
            await self._wait(name, version, deadline, rejected)
            self._taken[name] = version
        self._clusters = files["cds"]

    async def _wait(self, name: str, version: str, deadline: float, rejected: int) -> None:
        text = ""
        while time.monotonic() < deadline:
            text = await self._stats(name)
            if f'{_SCOPES[name]}.version_text: "{version}"' in text:
                return
            if _counter(text, name) > rejected:
                raise LocalError(f"Envoy rejects the new {name}", hint="see `driftloop logs envoy`; old routes stay")
            await asyncio.sleep(0.03)
        raise LocalError(
            f"Envoy did not take the new {name} in time{'' if text else ': it does not answer'}",
            hint="see `driftloop logs envoy`; old routes stay",
        )

    async def _stats(self, name: str) -> str:
        url = f"http://127.0.0.1:{self._admin}/stats"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session,
                session.get(url, params={"filter": f"^{_SCOPES[name]}"}) as answer,
            ):
                return await answer.text() if answer.status == 200 else ""
        except (aiohttp.ClientError, OSError, TimeoutError):
            # it is being restarted, and reads the files then
            return ""


def _counter(text: str, name: str) -> int:
    """How many updates Envoy has rejected."""
    for line in text.splitlines():
        if line.startswith(f"{_SCOPES[name]}.update_rejected: "):
            return int(line.rpartition(" ")[2])
    return 0
