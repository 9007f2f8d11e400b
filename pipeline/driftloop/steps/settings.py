"""The environment of a step: the platform's addresses and credentials."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract import platform as contract
from driftloop.contract.accounts import NatsRole
from driftloop.contract.layout import read_layout
from driftloop.contract.platform import MissingSettingError, Setting
from driftloop.errors import StepError
from driftloop.git.repository import Credentials, Repository
from driftloop.git.scratch import make_scratch
from driftloop.operations.commits.guard import refuse_harm
from driftloop.release import minisign
from driftloop.release.minisign import PublicKey, SigningKey


@dataclass(frozen=True)
class StepSettings:
    """The environment of a step; a property raises StepError that names the missing key of
    `driftloop-platform`."""

    environment: Mapping[str, str]

    @classmethod
    def from_environment(cls) -> "StepSettings":
        """Return the environment of this process."""
        return cls(dict(os.environ))

    def _read(self, setting: Setting) -> str:
        try:
            return setting.read(self.environment)
        except MissingSettingError as error:
            raise StepError(error.message, hint=error.hint) from error

    @property
    def nats_url(self) -> str:
        """URL of NATS, for the decision's state."""
        return self._read(contract.NATS_ROLES[NatsRole.STEP])

    @property
    def reader_url(self) -> str:
        """URL of NATS, for reads of events."""
        return self._read(contract.NATS_ROLES[NatsRole.READER])

    @property
    def verdicts_url(self) -> str | None:
        """URL of NATS, for reads of events; None in a workflow that was rendered before it was needed."""
        setting = contract.NATS_ROLES[NatsRole.READER]
        return self.environment.get(setting.environment) or None

    @property
    def bucket(self) -> StoreLocation:
        """The bucket of runs and models."""
        return StoreLocation(self._read(contract.S3_BUCKET))

    @property
    def store(self) -> ObjectStore:
        """The object store."""
        endpoint = {contract.S3_ENDPOINT.environment: self._read(contract.S3_ENDPOINT)}
        return ObjectStore.from_environment({**self.environment, **endpoint})

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs releases."""
        text = self._read(contract.SIGNING_KEY)
        return minisign.read_signing_key(text, label=contract.SIGNING_KEY.environment)

    @property
    def signing_keys(self) -> tuple[PublicKey, ...]:
        """The keys whose signatures of releases count."""
        text = self._read(contract.SIGNING_KEYS)
        return minisign.read_public_keys(text, label=contract.SIGNING_KEYS.environment)

    @property
    def kubernetes(self) -> KubernetesClient:
        """The Kubernetes API."""
        return KubernetesClient.from_url(self._read(contract.KUBERNETES_URL))

    def open_repository(self) -> Repository:
        """Return the cluster repository, with its cache in a new temporary folder."""
        return Repository(
            self._read(contract.GIT_URL),
            branch=self.environment.get(contract.GIT_BRANCH.environment) or "main",
            workdir=make_scratch(self.environment),
            guard=refuse_harm,
            credentials=Credentials.from_environment(self.environment),
            layout=read_layout(self.environment),
        )


def write_parameters(folder: Path, **values: str) -> None:
    """Write output parameters as Argo reads them: one file each, without newline."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("_", "-")).write_text(value)
