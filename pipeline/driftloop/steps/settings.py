"""The environment of a step: the platform's addresses and credentials."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients.kubernetes import Kubernetes
from driftloop.clients.s3 import Location, Store
from driftloop.errors import StepError
from driftloop.git.repository import Credentials, Repository

_KEYS = {
    "AWS_ENDPOINT_URL": "s3-endpoint",
    "AWS_ACCESS_KEY_ID": "accesskey",
    "AWS_SECRET_ACCESS_KEY": "secretkey",
    "DRIFTLOOP_BUCKET": "s3-bucket",
    "NATS_URL": "nats-url",
    "DRIFTLOOP_GIT_URL": "git-url",
    "DRIFTLOOP_GIT_BRANCH": "git-branch",
    "DRIFTLOOP_KUBERNETES_URL": "kubernetes-url",
}


@dataclass(frozen=True)
class Settings:
    """The environment of a step; a property raises StepError that names the missing key of `driftloop-platform`."""

    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> "Settings":
        """Return the environment of this process."""
        return cls(dict(os.environ))

    def _value(self, name: str) -> str:
        value = self.environment.get(name, "")
        if not value:
            raise StepError(
                f"{name} is not set",
                hint=f"it comes from key `{_KEYS[name]}` of `driftloop-platform` in the pipeline's namespace",
            )
        return value

    @property
    def nats_url(self) -> str:
        """URL of NATS."""
        return self._value("NATS_URL")

    @property
    def bucket(self) -> Location:
        """The bucket of runs and models."""
        return Location(self._value("DRIFTLOOP_BUCKET"))

    @property
    def store(self) -> Store:
        """The object store."""
        return Store.from_environment({**self.environment, "AWS_ENDPOINT_URL": self._value("AWS_ENDPOINT_URL")})

    @property
    def kubernetes(self) -> Kubernetes:
        """The Kubernetes API."""
        return Kubernetes.at(self._value("DRIFTLOOP_KUBERNETES_URL"))

    def repository(self) -> Repository:
        """Return the cluster repository, with its cache in a new temporary folder."""
        username = self.environment.get("DRIFTLOOP_GIT_USERNAME", "")
        password = self.environment.get("DRIFTLOOP_GIT_PASSWORD", "")
        return Repository(
            self._value("DRIFTLOOP_GIT_URL"),
            branch=self.environment.get("DRIFTLOOP_GIT_BRANCH") or "main",
            workdir=_scratch(self.environment.get("HOME")),
            credentials=Credentials(username, password) if password else None,
        )


def _scratch(home: str | None) -> Path:
    """Return a folder that exists as long as this process, in HOME when the file system is read-only."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="driftloop-git-"))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=".driftloop-git-", dir=home))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_parameters(folder: Path, **values: str) -> None:
    """Write output parameters as Argo reads them: one file each, without newline."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("_", "-")).write_text(value)


def run_folder(bucket: Location, run: str) -> Location:
    """Return the folder of a run's files."""
    return bucket / "runs" / run
