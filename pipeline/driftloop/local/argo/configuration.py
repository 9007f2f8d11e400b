"""ConfigMaps and Secrets as pods and the artifact repository see them.

`driftloop-platform` comes from run/platform.json; other ConfigMaps are those in the tree. What a person has
written into local.yaml comes before the tree, and other Secrets are there alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.clients.s3 import ObjectStore
from driftloop.contract.names import PLATFORM
from driftloop.contract.platform import select_secret
from driftloop.errors import LocalError
from driftloop.local.argo.parts import KeyRef, NotUnderstoodError, Part, RepositoryRef, read_part
from driftloop.local.ground.own_values import NO_VALUES, OwnValues
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.text.load import load_mapping

Find = Callable[[str, str, str], "dict[str, Any] | None"]
"""(kind, namespace, name) -> the applied object."""


class MissingKeyError(LocalError):
    """A ConfigMap or Secret, or its key, that does not exist."""


@dataclass(frozen=True)
class Configuration:
    """ConfigMaps and Secrets that one namespace's pods may refer to."""

    namespace: str
    config_map: Mapping[str, str]
    secret: Mapping[str, str]
    find: Find
    own: OwnValues = NO_VALUES

    @classmethod
    def of(cls, state: StateFolder, namespace: str, find: Find) -> "Configuration":
        """Read the platform file. MissingKeyError when `driftloop up` did not write it."""
        try:
            settings, own = LocalSettings.load(state), OwnValues.load(state)
        except LocalError as error:
            raise MissingKeyError(error.message, hint=error.hint) from error
        return cls(namespace, settings.config_map, settings.secret, find, own)

    def config_maps(self, name: str) -> Mapping[str, str]:
        """Return all keys of a ConfigMap. MissingKeyError."""
        if name == PLATFORM:
            return self.config_map
        if (own := self.own.get_object("configs", name)) is not None:
            return own
        config_map = self.find("ConfigMap", self.namespace, name)
        if config_map is None:
            raise MissingKeyError(f"configmap `{name}` not found in namespace {self.namespace}")
        return {key: str(value) for key, value in (config_map.get("data") or {}).items()}

    def secrets(self, name: str) -> Mapping[str, str]:
        """Return all keys of a Secret. MissingKeyError."""
        values = select_secret(name, self.secret) or self.own.get_object("secrets", name)
        if values is None:
            raise MissingKeyError(
                f"secret `{name}` not found in namespace {self.namespace}",
                hint=self.own.explain_lines([("secrets", name, None)]),
            )
        return values

    def claim(self, name: str) -> Path:
        """Return the folder of this machine that stands for a PersistentVolumeClaim. MissingKeyError."""
        if name not in self.own.folders:
            raise MissingKeyError(
                f"persistentvolumeclaim `{name}` not found in namespace {self.namespace}",
                hint=self.own.explain_lines([("volumes", name, None)]),
            )
        return self.own.folders[name]

    def config_key(self, ref: KeyRef) -> str:
        """Return one key of a ConfigMap. MissingKeyError."""
        return _key(self.config_maps, ref, "configmap")

    def secret_key(self, ref: KeyRef) -> str:
        """Return one key of a Secret. MissingKeyError."""
        return _key(self.secrets, ref, "secret")


class S3Repository(Part):
    """Bucket of artifacts that name none."""

    ACCEPTED = frozenset({"createBucketIfNotPresent", "keyFormat"})
    endpoint: str
    bucket: str
    region: str = "us-east-1"
    insecure: bool = False
    access_key_secret: KeyRef
    secret_key_secret: KeyRef


class RepositoryText(Part):
    """The text under the ConfigMap's key."""

    ACCEPTED = frozenset({"archiveLogs"})
    s3: S3Repository


@dataclass(frozen=True)
class Repository:
    """Artifact repository, open."""

    store: ObjectStore
    bucket: str


def repository(ref: RepositoryRef, configuration: Configuration) -> Repository:
    """Open the repository a Workflow refers to. NotUnderstoodError, MissingKeyError."""
    text = configuration.config_key(KeyRef(name=ref.config_map, key=ref.key))
    label = f"artifact repository {ref.config_map}/{ref.key}"
    document = load_mapping(text, label, error=NotUnderstoodError)
    s3 = read_part(RepositoryText, document, label=label).s3
    access = configuration.secret_key(s3.access_key_secret)
    secret = configuration.secret_key(s3.secret_key_secret)
    store = ObjectStore.from_endpoint(
        f"{'http' if s3.insecure else 'https'}://{s3.endpoint}",
        access_key=access,
        secret_key=secret,
        region=s3.region or "us-east-1",
    )
    return Repository(store, s3.bucket)


def _key(lookup: Callable[[str], Mapping[str, str]], ref: KeyRef, kind: str) -> str:
    try:
        return lookup(ref.name)[ref.key]
    except KeyError:
        raise MissingKeyError(f"{kind} `{ref.name}` has no key `{ref.key}`") from None
