"""Pages that dashboards lead to, by the addresses that programs have."""

import pytest
from prometheus_client import CollectorRegistry

from driftloop.services.decision.links import find_page, tell_pages


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/acme/cluster.git", "https://github.com/acme/cluster"),
        ("https://bot:secret@git.acme.example:8443/a/b/", "https://git.acme.example:8443/a/b"),
        ("http://gitea.git:3000/acme/cluster", "http://gitea.git:3000/acme/cluster"),
        ("ssh://git@github.com:22/acme/cluster.git", "https://github.com/acme/cluster"),
        ("git@github.com:acme/cluster.git", "https://github.com/acme/cluster"),
        ("file:///srv/cluster.git", ""),
        ("/srv/cluster.git", ""),
        ("javascript:alert(1)", "https://javascript/alert(1)"),
        ("", ""),
    ],
)
def test_a_repository_has_a_page_where_a_browser_reaches_it(url: str, page: str) -> None:
    assert find_page(url) == page


@pytest.mark.parametrize(
    ("console", "told"),
    [
        ("https://console.example.org/", "https://console.example.org"),
        ("javascript:alert(1)", ""),
        (None, ""),
    ],
)
def test_what_is_told_is_an_address_or_nothing(console: str | None, told: str) -> None:
    registry = CollectorRegistry()
    environment = {"DRIFTLOOP_GIT_URL": "https://u:p@github.com/a/b.git"}
    tell_pages(environment | ({"DRIFTLOOP_CONSOLE_URL": console} if console else {}), registry)
    labels = {"repository": "https://github.com/a/b", "branch": "main", "console": told}
    assert registry.get_sample_value("driftloop_decision_pages", labels) == 1
