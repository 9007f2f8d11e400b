"""Envoy's files on disk: replaced by rename, and waited for until Envoy's own statistics say that it took them."""

import asyncio
import json
import time
from pathlib import Path

from pipeline.errors import LocalError
from pipeline.runtimes.local import envoy
from pipeline.runtimes.local.http import get
from pipeline.runtimes.local.state import replace

_VERSION_OF = {
    "cds": "cluster_manager.cds.version_text",
    "lds": "listener_manager.lds.version_text",
    "gateway": "http.gateway.rds.gateway.version_text",
    "proxy": "http.proxy.rds.proxy.version_text",
}


class Front:
    """The one Envoy's configuration. `apply` returns when Envoy answers from it."""

    def __init__(self, folder: Path, *, gateway: int, proxy: int, admin: int) -> None:
        self._folder = folder
        self._admin = admin
        self._versions: dict[str, str] = {}
        self._clusters: list[envoy.Resource] = []
        self.bootstrap = folder / "bootstrap.json"
        folder.mkdir(parents=True, exist_ok=True)
        replace(
            self.bootstrap,
            json.dumps(envoy.bootstrap(str(folder), gateway=gateway, proxy=proxy, admin=admin), indent=1),
        )
        for name, resources in envoy.files(envoy.Routes(), admin=admin).items():
            self._write(name, resources)

    async def apply(self, routes: envoy.Routes, *, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Make before break: new clusters, then listeners and routes, then the clusters nobody names any more."""
        files = envoy.files(routes, admin=self._admin)
        deadline = time.monotonic() + timeout
        for name, resources in (
            ("cds", envoy.joined(files["cds"], self._clusters)),
            ("lds", files["lds"]),
            ("gateway", files["gateway"]),
            ("proxy", files["proxy"]),
            ("cds", files["cds"]),
        ):
            if self._write(name, resources):
                await self._taken(name, deadline)
        self._clusters = files["cds"]

    async def taken(self, *, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Return when Envoy runs with what is written now."""
        for name in _VERSION_OF:
            await self._taken(name, time.monotonic() + timeout)

    def _write(self, name: str, resources: list[envoy.Resource]) -> bool:
        text, version = envoy.document(resources)
        if self._versions.get(name) == version:
            return False
        replace(self._folder / f"{name}.json", text)
        self._versions[name] = version
        return True

    async def _taken(self, name: str, deadline: float) -> None:
        wanted = f'{_VERSION_OF[name]}: "{self._versions[name]}"'
        kind = _VERSION_OF[name].removesuffix(".version_text")
        text = ""
        while time.monotonic() < deadline:
            try:
                status, body = await get("127.0.0.1", self._admin, f"/stats?filter=^{kind}")
                text = body.decode() if status == 200 else ""
            except OSError:
                # it is being restarted; the files are read again then
                text = ""
            if wanted in text:
                return
            await asyncio.sleep(0.03)
        raise LocalError(
            f"Envoy did not take the new {name} within its time: {_rejected(text)}",
            hint="see `driftloop logs envoy`; the previous routes stay",
        )


def _rejected(text: str) -> str:
    found = [line.strip() for line in text.splitlines() if "update_rejected" in line or "version_text" in line]
    return ", ".join(found) or "it does not answer"
