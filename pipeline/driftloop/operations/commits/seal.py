"""Seal Secrets for a cluster offline, and seal SealedSecrets again for another key."""

from collections.abc import Callable, Sequence
from typing import Any, TextIO

from driftloop.cluster import sealing
from driftloop.kube.sealed import (
    PlainSecret,
    Scope,
    SealedSecret,
    SealError,
    build_secret,
    read_sealed,
    scope_of,
)
from driftloop.text.load import load_documents


def seal_secrets(
    file: TextIO, certificate: bytes, *, scope: Scope | None, namespace: str | None
) -> tuple[SealedSecret, ...]:
    """Seal the Secrets of a file with the controller's certificate (PEM).

    Without `scope`, that of the Secret's annotations counts; `namespace` is for Secrets that
    name none. SealError for an object that is not a Secret, or in another namespace.
    """
    key = sealing.certificate(certificate)

    def seal_document(document: Any) -> SealedSecret:
        secret = _set_namespace(build_secret(document), namespace)
        return sealing.seal(secret, key, scope or scope_of(secret.metadata.annotations))

    return _seal_documents(file, seal_document)


def reseal_secrets(
    file: TextIO, certificate: bytes, private_keys: Sequence[bytes]
) -> tuple[SealedSecret, ...]:
    """Open the SealedSecrets of a file with the old private keys (PEM) and seal them with a new
    certificate."""
    key = sealing.certificate(certificate)
    keys = sealing.private_keys(private_keys)
    return _seal_documents(file, lambda document: sealing.reseal(read_sealed(document), keys, key))


def _seal_documents(file: TextIO, seal: Callable[[Any], SealedSecret]) -> tuple[SealedSecret, ...]:
    try:
        content = file.read()
    except UnicodeDecodeError as error:
        raise SealError(f"{file.name}: not UTF-8 text: {error.reason}") from error
    documents = load_documents(content, file.name, error=SealError)
    if not documents:
        raise SealError(f"{file.name} has no object")
    return tuple(seal(document) for document in documents)


def _set_namespace(secret: PlainSecret, namespace: str | None) -> PlainSecret:
    if namespace is None:
        return secret
    current = secret.metadata.namespace
    if current is not None and current != namespace:
        raise SealError(f"the namespace of the Secret is `{current}`, --namespace is `{namespace}`")
    metadata = secret.metadata.model_copy(update={"namespace": namespace})
    return secret.model_copy(update={"metadata": metadata})
