"""What a step reads from its environment, once at its top: the platform's addresses and credentials."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients.kubernetes import Kubernetes
from driftloop.clients.s3 import Location, Store
from driftloop.contract import platform as contract
from driftloop.contract.platform import MissingSettingError, Setting
from driftloop.contract.trees import run_key
from driftloop.errors import StepError
from driftloop.git.repository import Credentials, Repository


@dataclass(frozen=True)
class Settings:
    """The environment of a step; each property says which key of `driftloop-platform` is missing."""

    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> "Settings":
        """From this process's environment."""
        return cls(dict(os.environ))

    def _read(self, setting: Setting) -> str:
        try:
            return setting.read(self.environment)
        except MissingSettingError as error:
            raise StepError(error.message, hint=error.hint) from error

    @property
    def nats_url(self) -> str:
        return self._read(contract.NATS)

    @property
    def bucket(self) -> Location:
        """Where runs and models are kept."""
        return Location(self._read(contract.S3_BUCKET))

    @property
    def store(self) -> Store:
        return Store.from_environment(
            {**self.environment, contract.S3_ENDPOINT.environment: self._read(contract.S3_ENDPOINT)}
        )

    @property
    def kubernetes(self) -> Kubernetes:
        return Kubernetes.at(self._read(contract.KUBERNETES_URL))

    def repository(self) -> Repository:
        """The cluster repository, with a cache in a fresh temporary folder."""
        username = self.environment.get(contract.GIT_USERNAME.environment, "")
        password = self.environment.get(contract.GIT_PASSWORD.environment, "")
        return Repository(
            self._read(contract.GIT_URL),
            branch=self.environment.get(contract.GIT_BRANCH.environment) or "main",
            workdir=_scratch(self.environment.get("HOME")),
            credentials=Credentials(username, password) if password else None,
        )


def _scratch(home: str | None) -> Path:
    """A folder for this process's life: where temporary files go, or in HOME when the file system is read-only."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="driftloop-git-"))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=".driftloop-git-", dir=home))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_parameters(folder: Path, **values: str) -> None:
    """Output parameters as Argo reads them: one file each, no newline."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("_", "-")).write_text(value)


def run_folder(bucket: Location, run: str) -> Location:
    """Where a run's files are kept."""
    return bucket / run_key(run)
