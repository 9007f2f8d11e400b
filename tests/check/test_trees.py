"""Nothing is found in what driftloop renders, nor in what this repository holds by hand."""

from pathlib import Path

import pytest

from driftloop.check import check_files
from tests.check.trees import NAMES, ROOT, tree


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_a_golden_tree(name: str) -> None:
    assert check_files(tree(name)) == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_misses_only_the_platform_s_own_names(name: str) -> None:
    """Asked for everything, it names what the platform brings, and a tracking server of people's own."""
    known = (
        "`infra-configs`",
        "`istio-system`",
        "`istio-system/seldon-gateway`",
        "EventBus",
        "mlflow.experiments.svc",
    )
    for one in check_files(tree(name), complete=True):
        assert any(word in one.what for word in known), one


def test_nothing_is_found_in_the_repository() -> None:
    files: dict[str, str | bytes] = {}
    others: set[str] = set()
    for part in ("cluster", "workflows", "deployments", "monitors"):
        for file in sorted((ROOT / part).rglob("*")):
            path = file.relative_to(ROOT).as_posix()
            if file.suffix == ".yaml":
                files[path] = file.read_bytes()
            elif file.is_file():
                others.add(path)
    assert len(files) > 60
    assert check_files(files, others=frozenset(others)) == ()


def test_a_part_of_a_tree_is_not_blamed_for_the_rest() -> None:
    """Each folder alone: what it refers to is elsewhere, and nobody says that it is not."""
    whole = tree("plain")
    for folder in sorted({str(Path(path).parent) for path in whole}):
        part = {path: text for path, text in whole.items() if str(Path(path).parent) == folder}
        # these hold the Namespace
        if not folder.endswith(("workflows/plain", "/access")):
            assert check_files(part, within=(folder,)) == (), folder


def test_pods_that_an_operator_makes_are_not_missed() -> None:
    service = """\
apiVersion: v1
kind: Service
metadata: {name: prometheus, namespace: monitoring}
spec: {selector: {prometheus: k8s}, ports: [{port: 9090}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
"""
    operated = """\
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: k8s, namespace: monitoring}
spec: {}
"""
    assert [found.code for found in check_files({"a.yaml": service})] == ["DL511"]
    assert check_files({"a.yaml": service + operated}) == ()
