"""Every object of every golden tree is taken by the API server in a dry run: schemas, CEL rules, webhooks."""

import pytest
import yaml
from cluster.forms.place import N

from tests.golden.trees import NAMES, UNLISTED, documents, tree

KNOWN = {}


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_is_accepted(here, name):
    taken, unknown = [], set()
    for path, document in documents(tree(name)):
        if path.endswith(UNLISTED):
            continue
        if f"{document['apiVersion']}/{document['kind']}" not in served(here):
            unknown.add(document["kind"])
            continue
        if document["metadata"].get("namespace") not in (None, "flux-system"):
            document["metadata"]["namespace"] = N  # its own is not there in a dry run
        taken.append(document)
    assert len(taken) > 30
    text = here.kube.run(
        "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(taken)
    )
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
