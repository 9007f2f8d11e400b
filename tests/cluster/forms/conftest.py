"""A namespace with a store, in which single parts of rendered trees run: no git, no Flux, no broker."""

from pathlib import Path

import pytest
from cluster.forms.place import place
from cluster.live import mark

CRDS = ("workflows.argoproj.io", "cronworkflows.argoproj.io")


def pytest_collection_modifyitems(items):
    mark(items, Path(__file__).parent, CRDS, seconds=600)


@pytest.fixture(scope="session")
def here(tmp_path_factory):
    with place(tmp_path_factory.mktemp("forms")) as found:
        yield found
