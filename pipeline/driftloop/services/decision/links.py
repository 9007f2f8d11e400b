"""Pages about a pipeline in a browser, told as labels of a metric: dashboards make links of them."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge

from driftloop.contract.platform import CONSOLE_URL, GIT_BRANCH, GIT_URL

_SHORT_SSH = re.compile(r"(?:[^@/]+@)?(?P<host>[^/:@]+):(?P<path>[^/].*)\Z")


def tell_pages(environment: Mapping[str, str], registry: CollectorRegistry) -> None:
    """Show where the repository and the console are in a browser; an empty label: nowhere that is known."""
    gauge = Gauge(
        "driftloop_decision_pages",
        "1; pages of the cluster repository and of the console in a browser, as labels",
        ["repository", "branch", "console"],
        registry=registry,
    )
    console = environment.get(CONSOLE_URL.environment, "").strip().rstrip("/")
    gauge.labels(
        find_page(environment.get(GIT_URL.environment, "")),
        environment.get(GIT_BRANCH.environment) or "main",
        console if urlsplit(console).scheme in ("http", "https") else "",
    ).set(1)


def find_page(url: str) -> str:
    """Return the page of a repository, as GitHub, GitLab, Gitea and Forgejo have it at its address; empty
    for one that no browser reaches."""
    parts = urlsplit(url)
    match parts.scheme:
        case "http" | "https":
            host, scheme = parts.netloc.rpartition("@")[2], parts.scheme
        case "ssh" | "git+ssh":
            # the port is that of ssh
            host, scheme = parts.hostname or "", "https"
        case _:
            if "://" in url or (short := _SHORT_SSH.match(url)) is None:
                return ""
            return _join("https", short["host"], short["path"])
    return _join(scheme, host, parts.path)


def _join(scheme: str, host: str, path: str) -> str:
    path = path.strip("/").removesuffix(".git")
    return f"{scheme}://{host}/{path}" if host and path else ""
