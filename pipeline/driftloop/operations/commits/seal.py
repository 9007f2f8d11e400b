"""Seal Secrets for a cluster offline, or keep them as its platform file says, and seal SealedSecrets again for another
key."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from driftloop.cluster import sealing
from driftloop.cluster.drafts import SecretDraft, list_keys
from driftloop.cluster.keeping import choose_keeper
from driftloop.errors import PipelineError
from driftloop.kube.sealed import (
    LAST_APPLIED,
    PlainSecret,
    Scope,
    SealedSecret,
    SealError,
    build_secret,
    read_sealed,
    scope_of,
)
from driftloop.platform import PlatformFile
from driftloop.platform.secrets import MadeByOthers
from driftloop.text.dump import dump_yaml
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


def keep_secrets(
    file: TextIO, ground: PlatformFile, folder: Path, *, namespace: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what stands in git of the Secrets of a file on a cluster that has no Sealed Secrets, as texts, and what must
    be in its store. PipelineError where nothing of Secrets stands in git."""
    if isinstance(ground.spec.secrets, MadeByOthers):
        raise PipelineError(
            f"{ground.path}: Secrets of cluster `{ground.cluster}` are made by others, nothing of them stands in git",
            hint="give the Secret to who makes them; `driftloop plan` names those that a pipeline needs",
        )
    keeper = choose_keeper(ground, certificate=None, folder=folder)
    drafts = [_draft(_set_namespace(build_secret(document), namespace)) for document in _read(file)]
    texts = []
    for draft in drafts:
        kept = keeper.keep(draft, f"{draft.name}.{keeper.suffix}.yaml")
        if kept is not None:
            texts.append(kept if isinstance(kept, str) else dump_yaml(kept.dump_object()))
    return tuple(texts), () if keeper.holds_values else list_keys(drafts)


def _draft(secret: PlainSecret) -> SecretDraft:
    if secret.metadata.namespace is None:
        raise SealError(
            f"the Secret `{secret.metadata.name}` has no namespace",
            hint="write `metadata.namespace`, or pass --namespace",
        )
    # kubectl's annotation holds the values in clear
    kept = {k: v for k, v in (secret.metadata.annotations or {}).items() if k != LAST_APPLIED}
    metadata = secret.metadata.model_copy(update={"annotations": kept or None})
    return SecretDraft(
        metadata=metadata, values=secret.values, type=secret.type, immutable=secret.immutable
    )


def reseal_secrets(
    file: TextIO, certificate: bytes, private_keys: Sequence[bytes]
) -> tuple[SealedSecret, ...]:
    """Open the SealedSecrets of a file with the old private keys (PEM) and seal them with a new
    certificate."""
    key = sealing.certificate(certificate)
    keys = sealing.private_keys(private_keys)
    return _seal_documents(file, lambda document: sealing.reseal(read_sealed(document), keys, key))


def _seal_documents(file: TextIO, seal: Callable[[Any], SealedSecret]) -> tuple[SealedSecret, ...]:
    return tuple(seal(document) for document in _read(file))


def _read(file: TextIO) -> Sequence[Any]:
    try:
        content = file.read()
    except UnicodeDecodeError as error:
        raise SealError(f"{file.name}: not UTF-8 text: {error.reason}") from error
    documents = load_documents(content, file.name, error=SealError)
    if not documents:
        raise SealError(f"{file.name} has no object")
    return documents


def _set_namespace(secret: PlainSecret, namespace: str | None) -> PlainSecret:
    if namespace is None:
        return secret
    current = secret.metadata.namespace
    if current is not None and current != namespace:
        raise SealError(f"the namespace of the Secret is `{current}`, --namespace is `{namespace}`")
    metadata = secret.metadata.model_copy(update={"namespace": namespace})
    return secret.model_copy(update={"metadata": metadata})
