"""SealedSecrets: the only form in which a secret may enter git."""

import base64
import binascii
from enum import StrEnum
from typing import Any, Literal, assert_never

import pydantic

from driftloop.errors import PipelineError
from driftloop.kube.base import KubernetesObject, ObjectMeta, ObjectPart

PREFIX = "sealedsecrets.bitnami.com"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation of kubectl with the whole object, values in clear."""
KEPT_METADATA = ("name", "namespace", "labels", "annotations")
"""Metadata that is not added by a cluster (uid, creationTimestamp …)."""


class SealError(PipelineError):
    """A Secret that can't be sealed, or a SealedSecret that can't be opened."""


class Scope(StrEnum):
    """Scope of a sealed value: its own name, its namespace, or the cluster."""

    STRICT = "strict"
    NAMESPACE_WIDE = "namespace-wide"
    CLUSTER_WIDE = "cluster-wide"

    def encryption_label(self, namespace: str, name: str) -> bytes:
        """Return the label that the ciphertext is bound to; the controller opens it under no
        other."""
        match self:
            case Scope.STRICT:
                return f"{namespace}/{name}".encode()
            case Scope.NAMESPACE_WIDE:
                return namespace.encode()
            case Scope.CLUSTER_WIDE:
                return b""
            case _:
                assert_never(self)

    def sealing_annotations(self) -> dict[str, str]:
        """Return the annotations that tell the controller the scope; strict needs none."""
        return {} if self is Scope.STRICT else {f"{PREFIX}/{self.value}": "true"}


def scope_of(annotations: dict[str, str] | None) -> Scope:
    """The scope that an object's annotations ask for. Cluster-wide wins, as in the controller."""
    marks = annotations or {}
    for scope in (Scope.CLUSTER_WIDE, Scope.NAMESPACE_WIDE):
        if marks.get(f"{PREFIX}/{scope.value}") == "true":
            return scope
    return Scope.STRICT


class TemplateMeta(ObjectPart):
    """Metadata of the Secret that the controller makes."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class SecretTemplate(ObjectPart):
    """The Secret to be made, without its values."""

    metadata: TemplateMeta
    type: str | None = None
    immutable: bool | None = None
    data: dict[str, str] | None = None
    """Further values, as Go templates over the unsealed ones."""


class SealedSecretSpec(ObjectPart):
    """Sealed values, by key."""

    encrypted_data: dict[str, str]
    template: SecretTemplate


class SealedSecret(KubernetesObject):
    """A Secret whose values only the cluster's controller can read."""

    api_version: Literal["bitnami.com/v1alpha1"] = "bitnami.com/v1alpha1"
    kind: Literal["SealedSecret"] = "SealedSecret"
    spec: SealedSecretSpec


class PlainSecret(ObjectPart):
    """A Secret as a person wrote it, values decoded. Held in memory only."""

    metadata: ObjectMeta
    type: str = "Opaque"
    immutable: bool | None = None
    values: dict[str, bytes]


def build_secret(document: Any) -> PlainSecret:
    """Read a `v1` Secret: `data` (base64) with `stringData` laid over it. SealError says what is
    wrong."""
    if (
        not isinstance(document, dict)
        or document.get("apiVersion") != "v1"
        or document.get("kind") != "Secret"
    ):
        kind = document.get("kind") if isinstance(document, dict) else type(document).__name__
        raise SealError(
            f"expected a v1 Secret, found `{kind}`",
            hint="`kubectl create secret … --dry-run=client -o yaml` makes one",
        )
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise SealError("the Secret has no `metadata.name`")
    values: dict[str, bytes] = {}
    for key, text in (document.get("data") or {}).items():
        try:
            values[key] = base64.b64decode("" if text is None else str(text), validate=True)
        except (binascii.Error, ValueError) as error:
            raise SealError(
                f"`data.{key}` is not base64", hint="plain text belongs under `stringData`"
            ) from error
    for key, text in (document.get("stringData") or {}).items():
        if not isinstance(text, str):
            raise SealError(
                f"`stringData.{key}` is {text!r}, must be text", hint="put it in quotes"
            )
        values[key] = text.encode()
    if not values:
        raise SealError("the Secret holds no values", hint="fill `stringData` or `data`")
    return PlainSecret(
        metadata=ObjectMeta(
            name=str(metadata["name"]),
            namespace=metadata.get("namespace"),
            labels=metadata.get("labels"),
            annotations=metadata.get("annotations"),
        ),
        type=document.get("type") or "Opaque",
        immutable=document.get("immutable"),
        values=values,
    )


def seal_secret(secret: PlainSecret, encrypted: dict[str, str], scope: Scope) -> SealedSecret:
    """The object to commit; `encrypted` holds one sealed value for each of the secret's keys."""
    kept = {
        k: v
        for k, v in (secret.metadata.annotations or {}).items()
        if not k.startswith(f"{PREFIX}/") and k != LAST_APPLIED
    }
    own = scope.sealing_annotations()
    return SealedSecret(
        metadata=ObjectMeta(
            name=secret.metadata.name,
            namespace=secret.metadata.namespace,
            labels=secret.metadata.labels,
            annotations=own or None,
        ),
        spec=SealedSecretSpec(
            encrypted_data=dict(sorted(encrypted.items())),
            template=SecretTemplate(
                metadata=TemplateMeta(
                    name=secret.metadata.name,
                    namespace=secret.metadata.namespace,
                    labels=secret.metadata.labels,
                    annotations={**kept, **own} or None,
                ),
                type=secret.type,
                immutable=secret.immutable,
            ),
        ),
    )


def read_sealed(document: Any) -> SealedSecret:
    """Read a SealedSecret, without what a cluster adds to it. SealError for any other object."""
    try:
        metadata, spec = _keep_metadata(document["metadata"]), document["spec"]
        template = dict(spec.get("template") or {})
        template["metadata"] = {
            "name": metadata["name"],
            **_keep_metadata(template.get("metadata") or {}),
        }
        return SealedSecret.model_validate(
            {
                "apiVersion": document["apiVersion"],
                "kind": document["kind"],
                "metadata": metadata,
                "spec": {"encryptedData": spec["encryptedData"], "template": template},
            }
        )
    except (KeyError, TypeError, AttributeError, pydantic.ValidationError) as error:
        raise SealError(
            "the object is not a SealedSecret of bitnami.com/v1alpha1", hint=str(error)
        ) from error


def _keep_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key in KEPT_METADATA}
