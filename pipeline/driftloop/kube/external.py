"""external-secrets.io/v1: ExternalSecret, a Secret whose values an operator reads from a store."""

from typing import Any, Literal

import pydantic

from driftloop.errors import PipelineError
from driftloop.kube.base import KubernetesObject, ObjectMeta, ObjectPart


class StoreReference(ObjectPart):
    """The store that the values are read from."""

    kind: Literal["ClusterSecretStore", "SecretStore"]
    name: str


class RemoteReference(ObjectPart):
    """A value in the store: an entry, and one of its properties."""

    key: str
    property: str | None = None


class ExternalValue(ObjectPart):
    """A key of the Secret, and where its value stands."""

    secret_key: str
    remote_ref: RemoteReference


class MadeMetadata(ObjectPart):
    """Metadata of the Secret that the operator makes."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class MadeSecret(ObjectPart):
    """The Secret that the operator makes: labels, and values that are Go templates over those of the store."""

    engine_version: Literal["v2"] = "v2"
    merge_policy: Literal["Merge"] = "Merge"
    """With the values of the store beside those of the templates."""
    type: str | None = None
    metadata: MadeMetadata | None = None
    data: dict[str, str] | None = None


class ExternalTarget(ObjectPart):
    """The Secret to be made; it has the name of the ExternalSecret."""

    immutable: bool | None = None
    template: MadeSecret


class ExternalSecretSpec(ObjectPart):
    """Store, values by key, and the Secret made of them."""

    refresh_interval: str
    secret_store_ref: StoreReference
    target: ExternalTarget
    data: tuple[ExternalValue, ...]


class ExternalSecret(KubernetesObject):
    """A Secret whose values stand in a store outside of the cluster."""

    api_version: Literal["external-secrets.io/v1"] = "external-secrets.io/v1"
    kind: Literal["ExternalSecret"] = "ExternalSecret"
    metadata: ObjectMeta
    spec: ExternalSecretSpec


def read_external(document: Any, source: str) -> ExternalSecret:
    """Read an ExternalSecret as this package writes it; PipelineError for any other object."""
    try:
        return ExternalSecret.model_validate(document)
    except pydantic.ValidationError as error:
        raise PipelineError(
            f"{source}: the object is not an ExternalSecret as driftloop writes it",
            hint=f"remove the file, and write it again with --force: {error.errors()[0]['msg']}",
        ) from error
