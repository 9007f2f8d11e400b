"""Who makes the Secrets of a cluster, and what of them stands in git."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, Tag

from driftloop.platform.values import (
    AgeRecipient,
    ObjectName,
    OpenPgpFingerprint,
    RemoteKey,
)
from driftloop.spec.base import SpecModel, tagged
from driftloop.spec.values import PositiveDuration


class SealedSecrets(SpecModel):
    """Sealed Secrets: encrypted for the controller of one cluster."""

    type: Literal["sealed-secrets"] = "sealed-secrets"
    """SealedSecret objects, which only the cluster's controller opens: `sealed-secrets`."""


class SecretStore(SpecModel):
    """Store of the External Secrets Operator."""

    name: ObjectName
    """Name of the store."""
    kind: Literal["ClusterSecretStore", "SecretStore"] = "ClusterSecretStore"
    """Kind of the store: a `ClusterSecretStore`, or a `SecretStore` of this name in each namespace that gets a Secret."""


class ExternalSecrets(SpecModel):
    """External Secrets Operator: values stand in a store such as Vault, and git names them."""

    type: Literal["external-secrets"]
    """ExternalSecret objects, whose values the operator reads from a store: `external-secrets`."""
    store: SecretStore
    """Store that holds the values."""
    remote_key: RemoteKey = "driftloop/{namespace}/{name}"
    """Key of a Secret's values in the store: `{namespace}` is the pipeline's namespace or that of the Secret, `{name}` the
    Secret's name, and each key of the Secret a property. With `{key}` in it there is one entry in the store for each key,
    for stores without properties."""
    refresh: PositiveDuration = timedelta(hours=1)
    """Time after which the operator reads the values again."""


class Sops(SpecModel):
    """SOPS: Secrets whose values are encrypted, which Flux decrypts."""

    type: Literal["sops"]
    """Secrets encrypted by the program `sops`, which Flux decrypts: `sops`."""
    age: Annotated[tuple[AgeRecipient, ...], Field(max_length=20)] = ()
    """Public keys of age that a Secret is encrypted for: Flux', and those of people who may change one. Without `age` and
    `pgp` the rules in the repository's `.sops.yaml` say it."""
    pgp: Annotated[tuple[OpenPgpFingerprint, ...], Field(max_length=20)] = ()
    """Fingerprints of OpenPGP keys, of those that gpg knows, that a Secret is encrypted for."""
    decryption_secret: ObjectName = "sops-age"  # noqa: S105 - a name
    """Secret in `flux.namespace` with the private key that Flux decrypts with (`identity.agekey`, or `identity.asc`), which
    a person makes by hand."""


class MadeByOthers(SpecModel):
    """Nobody that driftloop knows: a Vault agent, a script, a person."""

    type: Literal["others"]
    """Nothing of Secrets is written: `others`. `driftloop plan` and `driftloop doctor` say which must be there, key by key."""


SecretKind = Annotated[
    Annotated[SealedSecrets, Tag("sealed-secrets")]
    | Annotated[ExternalSecrets, Tag("external-secrets")]
    | Annotated[Sops, Tag("sops")]
    | Annotated[MadeByOthers, Tag("others")],
    tagged("type"),
]
