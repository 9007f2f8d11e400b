"""Every object of every golden tree is taken by the API server in a dry run: schemas, CEL rules, webhooks."""

from pathlib import Path

import pytest
import yaml
from cluster.forms.place import N

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "expected").is_dir())
KNOWN = {}


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_is_accepted(here, name):
    taken, unknown = [], set()
    for file in sorted((GOLDEN / name / "expected").rglob("*.yaml")):
        if file.name in ("pipeline.yaml", "release.yaml", "kustomization.yaml"):
            continue
        for one in yaml.safe_load_all(file.read_text()):
            if f"{one['apiVersion']}/{one['kind']}" not in served(here):
                unknown.add(one["kind"])
                continue
            if one["metadata"].get("namespace") not in (None, "flux-system"):
                one["metadata"]["namespace"] = N  # its own is not there in a dry run
            taken.append(one)
    assert len(taken) > 30
    text = here.kube.run("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(taken))
    assert text.count("serverside-applied") == len(taken)
    # a kind that this cluster has no controller for is not shown here, and nothing else is left out
    assert unknown <= {"SeldonDeployment", "PodMonitor", "PrometheusRule"}


def served(here):
    """Every `apiVersion/kind` that the server knows."""
    if not KNOWN:
        for line in here.kube.run("api-resources", "--no-headers").splitlines():
            *_, version, _, kind = line.split()
            KNOWN[f"{version}/{kind}"] = True
    return KNOWN
