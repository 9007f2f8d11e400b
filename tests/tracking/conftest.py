"""A real MLflow server for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mlflow_server import MlflowServer, NoMlflowError


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder: Path = tmp_path_factory.mktemp("mlflow")
    try:
        server = MlflowServer.prepare(folder / "environment", folder)
    except NoMlflowError as error:
        pytest.skip(str(error))
    yield server.start()
    server.kill()
