"""Envoy's files on disk: replaced by rename, and waited for until Envoy's own statistics say that
it took them.
"""

import asyncio
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from driftloop.errors import LocalError
from driftloop.local.ground.addresses import short_path
from driftloop.local.ground.state import replace_file
from driftloop.local.istio import envoy, login
from driftloop.local.istio.routes import EnvoyRoutes

_SCOPES = {
    "cds": "cluster_manager.cds",
    "lds": "listener_manager.lds",
    "verify": f"extension_config_discovery.http_filter.{login.VERIFY}",
    "guard": f"extension_config_discovery.http_filter.{login.GUARD}",
    "gateway": "http.gateway.rds.gateway",
    "proxy": "http.proxy.rds.proxy",
}
"""Prefix of the statistics of each file."""

DRAIN = 10.0
"""Seconds that requests under way get before what they use is taken away."""
CALM = 3
"""Looks in a row that must find nothing under way; they are a tenth of a second apart."""


class EnvoyFront:
    """The one Envoy's configuration. `apply` returns when Envoy answers from it."""

    def __init__(self, folder: Path, *, gateway: int, proxy: int) -> None:
        self._folder = folder
        self._taken: dict[str, str] = {}
        self._clusters: list[envoy.Resource] = []
        self._listeners: list[envoy.Resource] = []
        self._logins: tuple[Mapping[str, Any], ...] = ()
        self.bootstrap = folder / "bootstrap.json"
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(
            self.bootstrap,
            json.dumps(
                envoy.build_bootstrap(str(folder), gateway=gateway, proxy=proxy),
                indent=1,
            ),
        )
        for name, resources in envoy.build_files(EnvoyRoutes()).items():
            replace_file(folder / f"{name}.json", envoy.format_document(resources)[0])

    async def apply_routes(self, routes: EnvoyRoutes, *, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Make before break: add clusters and listeners, move routes, then remove what is unused.

        Unused clusters and listeners are removed once they are quiet.

        LocalError when Envoy rejects it (the previous routes stay) or does not answer in time.
        """
        files = envoy.build_files(routes)
        deadline = time.monotonic() + timeout
        await self._take_resources(
            "cds", envoy.join_resources(files["cds"], self._clusters), deadline
        )
        await self._take_resources(
            "lds", envoy.join_resources(files["lds"], self._listeners), deadline
        )
        # who may ask is known before there is a route, and as long as there is one
        joined = login.join_logins(routes.logins, self._logins)
        await self._take_resources("verify", [envoy.build_verify_filter(joined)], deadline)
        await self._take_resources("guard", [envoy.build_guard_filter(joined)], deadline)
        await self._take_resources("gateway", files["gateway"], deadline)
        await self._take_resources("guard", files["guard"], deadline)
        await self._take_resources("verify", files["verify"], deadline)
        self._logins = routes.logins
        await self._take_resources("proxy", files["proxy"], deadline)
        leaving = {cluster["name"] for cluster in self._clusters} - {
            cluster["name"] for cluster in files["cds"]
        }
        if leaving:
            await self._wait_until_quiet(leaving)
        deadline = max(deadline, time.monotonic() + timeout / 2)
        await self._take_resources("lds", files["lds"], deadline)
        await self._take_resources("cds", files["cds"], deadline)
        self._clusters, self._listeners = files["cds"], files["lds"]

    async def read_statistics(self, pattern: str) -> str:
        """Return the statistics whose names match, one a line; empty when Envoy does not answer."""
        return await self._get_admin_page("stats", filter=pattern)

    async def _take_resources(
        self, name: str, resources: Sequence[envoy.Resource], deadline: float
    ) -> None:
        text, version = envoy.format_document(resources)
        if self._taken.get(name) == version:
            return
        rejected = _read_rejected_count(
            await self._get_admin_page("stats", filter=f"^{_SCOPES[name]}"), name
        )
        replace_file(self._folder / f"{name}.json", text)
        await self._wait_for_version(name, version, deadline, rejected)
        self._taken[name] = version

    async def _wait_until_quiet(self, clusters: Collection[str]) -> None:
        """Wait until no request is under way to `clusters`, at most DRAIN: a logger posts an answer
        after it was given, and could not once its broker's cluster is gone.
        """
        deadline = time.monotonic() + DRAIN
        calm = 0
        while calm < CALM and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            text = await self._get_admin_page("clusters", format="json")
            if not text:
                return
            active = sum(
                int(stat.get("value", 0))
                for cluster in json.loads(text).get("cluster_statuses", ())
                if cluster["name"] in clusters
                for host in cluster.get("host_statuses", ())
                for stat in host.get("stats", ())
                if stat["name"] == "rq_active"
            )
            calm = calm + 1 if active == 0 else 0

    async def _wait_for_version(
        self, name: str, version: str, deadline: float, rejected: int
    ) -> None:
        text = ""
        while time.monotonic() < deadline:
            text = await self._get_admin_page("stats", filter=f"^{_SCOPES[name]}")
            if f'{_SCOPES[name]}.version_text: "{version}"' in text:
                return
            if _read_rejected_count(text, name) > rejected:
                raise LocalError(
                    f"Envoy rejects the new {name}",
                    hint="see `driftloop logs envoy`; old routes stay",
                )
            await asyncio.sleep(0.03)
        raise LocalError(
            f"Envoy did not take the new {name} in time{'' if text else ': it does not answer'}",
            hint="see `driftloop logs envoy`; old routes stay",
        )

    async def _get_admin_page(self, page: str, **params: str) -> str:
        """A page of Envoy's admin interface; empty when it does not answer."""
        try:
            # not aiohttp's own timeout: it swallows a cancellation that comes in the same moment (3.14)
            with short_path(self._folder / envoy.ADMIN_SOCKET) as socket:
                async with (
                    asyncio.timeout(5),
                    aiohttp.ClientSession(
                        connector=aiohttp.UnixConnector(socket), timeout=aiohttp.ClientTimeout()
                    ) as session,
                    session.get(f"http://envoy/{page}", params=params) as answer,
                ):
                    return await answer.text() if answer.status == 200 else ""
        except (aiohttp.ClientError, OSError, TimeoutError):
            # it is being restarted, and reads the files then
            return ""


def _read_rejected_count(text: str, name: str) -> int:
    """Return the number of updates that Envoy has rejected."""
    for line in text.splitlines():
        if line.startswith(f"{_SCOPES[name]}.update_rejected: "):
            return int(line.rpartition(" ")[2])
    return 0
