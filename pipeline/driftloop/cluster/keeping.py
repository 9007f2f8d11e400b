"""Keepers of Secrets: what of each stands in git, by the kind that a platform file says."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, assert_never

from cryptography.hazmat.primitives.asymmetric import rsa

from driftloop.clients.sops import SopsProgram
from driftloop.cluster import sealing
from driftloop.cluster.drafts import SecretDraft, SharedDraft
from driftloop.errors import PipelineError
from driftloop.kube import core, external, flux
from driftloop.kube.base import ObjectMeta, ObjectPart
from driftloop.kube.sealed import PlainSecret, Scope, SealedSecret, SealError, read_sealed
from driftloop.platform import PlatformFile
from driftloop.platform.secrets import (
    ExternalSecrets,
    MadeByOthers,
    SealedSecrets,
    SecretKind,
    Sops,
)
from driftloop.text.dump import dump_documents
from driftloop.text.load import load_mapping

# exists(), not all(): all() over no conditions is true and would fail a fresh one
_SYNCED = (
    "has(status.conditions) && status.conditions.exists(c, c.type == 'Synced' && c.status == '{}')"
)

SEALED_KIND = "SealedSecret"
OPAQUE = "Opaque"
SUFFIXES = ("sealedsecret", "externalsecret", "secret")
"""Words before the end of the names of files, of all keepers."""

Kept = ObjectPart | str | None
"""An object, the text of one that another program has written, or nothing."""


class SecretKeeper(Protocol):
    """Who keeps Secrets, and in which form they stand in git."""

    @property
    def suffix(self) -> str:
        """Word before the end of the names of their files."""

    @property
    def holds_values(self) -> bool:
        """True if what is written holds the values, encrypted."""

    def keep(self, draft: SecretDraft, path: str) -> Kept:
        """Return what stands in git of a Secret, in a file of this path; None: nothing does."""

    def join(self, draft: SharedDraft, present: str | None, path: str) -> Kept:
        """Return the same of a shared one, with what others have brought to the file that is there."""

    def list_keys(self, text: str, path: str) -> frozenset[str]:
        """Return the keys that such a file has."""


@dataclass(frozen=True)
class SealedKeeper:
    """Sealed Secrets."""

    key: rsa.RSAPublicKey
    suffix: str = "sealedsecret"
    holds_values: bool = True

    def keep(self, draft: SecretDraft, path: str) -> SealedSecret:
        """Return the Secret sealed."""
        return self._seal(draft.complete(draft.values))

    def join(self, draft: SharedDraft, present: str | None, path: str) -> SealedSecret:
        """Return the old values as they are sealed, and the fresh ones; the controller joins them."""
        fresh = self._seal(PlainSecret(metadata=draft.metadata, values=dict(draft.values)))
        old = read_sealed_file(present, path).spec.encrypted_data if present is not None else {}
        values = draft.settle({**old, **fresh.spec.encrypted_data})
        template = fresh.spec.template.model_copy(update={"data": dict(draft.templates)})
        spec = fresh.spec.model_copy(
            update={"encrypted_data": dict(sorted(values.items())), "template": template}
        )
        return fresh.model_copy(update={"spec": spec})

    def list_keys(self, text: str, path: str) -> frozenset[str]:
        """Return the keys that are sealed."""
        return frozenset(read_sealed_file(text, path).spec.encrypted_data)

    def _seal(self, secret: PlainSecret) -> SealedSecret:
        return sealing.seal(secret, self.key, Scope.STRICT)


@dataclass(frozen=True)
class ExternalKeeper:
    """External Secrets."""

    own: ExternalSecrets
    suffix: str = "externalsecret"
    holds_values: bool = False

    def keep(self, draft: SecretDraft, path: str) -> external.ExternalSecret:
        """Return the object that reads each value from the store."""
        return self._build(draft, {key: self._refer(draft, key) for key in draft.values})

    def join(self, draft: SharedDraft, present: str | None, path: str) -> external.ExternalSecret:
        """Return the places of the old values and of the fresh ones; the operator joins them."""
        old = {}
        if present is not None:
            found = external.read_external(load_mapping(present, path), path)
            old = {each.secret_key: each.remote_ref for each in found.spec.data}
        fresh = {key: self._refer(draft, key) for key in draft.values}
        return self._build(draft, dict(sorted({**old, **fresh}.items())))

    def list_keys(self, text: str, path: str) -> frozenset[str]:
        """Return the keys that have a place."""
        found = external.read_external(load_mapping(text, path), path)
        return frozenset(each.secret_key for each in found.spec.data)

    def list_entries(self, drafts: Sequence[SecretDraft]) -> dict[str, dict[str, str] | str]:
        """Return what must be in the store: entry -> property -> value, or entry -> value."""
        entries: dict[str, dict[str, str] | str] = {}
        for draft in drafts:
            for key, value in draft.values.items():
                place = self._refer(draft, key)
                if place.property is None:
                    entries[place.key] = value.decode()
                    continue
                held = entries.setdefault(place.key, {})
                if isinstance(held, dict):
                    held[place.property] = value.decode()
        return entries

    def _refer(self, draft: SecretDraft, key: str) -> external.RemoteReference:
        namespace, word = draft.namespace, key
        if isinstance(draft, SharedDraft):
            # each namespace has entries of its own; and a dot in a property is a path in some stores
            namespace, word = draft.owners[key], draft.part
        entry = self.own.remote_key.format(namespace=namespace, name=draft.name, key=word)
        single = "{key}" in self.own.remote_key
        return external.RemoteReference(key=entry, property=None if single else word)

    def _build(
        self, draft: SecretDraft, places: Mapping[str, external.RemoteReference]
    ) -> external.ExternalSecret:
        made = external.MadeSecret(
            type=None if draft.type == OPAQUE else draft.type,
            metadata=external.MadeMetadata(
                labels=draft.metadata.labels, annotations=draft.metadata.annotations
            ),
            data=dict(draft.templates) or None,
        )
        return external.ExternalSecret(
            metadata=ObjectMeta(
                name=draft.name, namespace=draft.namespace, labels=draft.metadata.labels
            ),
            spec=external.ExternalSecretSpec(
                refresh_interval=_write_go_duration(self.own.refresh),
                secret_store_ref=external.StoreReference(
                    kind=self.own.store.kind, name=self.own.store.name
                ),
                target=external.ExternalTarget(immutable=draft.immutable, template=made),
                data=tuple(
                    external.ExternalValue(secret_key=key, remote_ref=place)
                    for key, place in places.items()
                ),
            ),
        )


@dataclass(frozen=True)
class SopsKeeper:
    """SOPS."""

    program: SopsProgram
    suffix: str = "secret"
    holds_values: bool = True

    def keep(self, draft: SecretDraft, path: str) -> str:
        """Return the Secret encrypted."""
        return self._encrypt(draft.complete(draft.values), path)

    def join(self, draft: SharedDraft, present: str | None, path: str) -> str:
        """Return the values joined and encrypted; those that are there must be decrypted for it."""
        values = {**self._decrypt(present, path), **draft.values} if present else draft.values
        own = {key: value for key, value in values.items() if key not in draft.templates}
        return self._encrypt(draft.complete(dict(sorted(own.items()))), path)

    def list_keys(self, text: str, path: str) -> frozenset[str]:
        """Return the keys, which are not encrypted."""
        return frozenset(load_mapping(text, path).get("stringData") or {})

    def _encrypt(self, secret: PlainSecret, path: str) -> str:
        return self.program.encrypt(_dump_plain(secret), path)

    def _decrypt(self, text: str, path: str) -> dict[str, bytes]:
        found = self.program.decrypt(text, path).get("stringData") or {}
        return {key: str(value).encode() for key, value in found.items()}


@dataclass(frozen=True)
class NobodyKeeps:
    """Secrets that others make: nothing of them stands in git."""

    suffix: str = "secret"
    holds_values: bool = False

    def keep(self, draft: SecretDraft, path: str) -> None:
        """Return nothing: there is no file."""

    def join(self, draft: SharedDraft, present: str | None, path: str) -> None:
        """Return nothing: there is no file."""

    def list_keys(self, text: str, path: str) -> frozenset[str]:
        """Return no key: what others have made is not known."""
        return frozenset()


def choose_keeper(ground: PlatformFile, *, certificate: bytes | None, folder: Path) -> SecretKeeper:
    """Return who keeps the Secrets of a cluster; `folder` is the working copy, and `certificate` that of the controller of
    Sealed Secrets (PEM), which no other kind has. PipelineError when it is missing or there is too much."""
    kind = ground.spec.secrets
    if certificate is not None and not isinstance(kind, SealedSecrets):
        raise PipelineError(
            f"--cert is for Sealed Secrets, `{ground.path}` says `secrets: {{type: {kind.type}}}`",
            hint="leave it out",
        )
    match kind:
        case SealedSecrets():
            if certificate is None:
                raise PipelineError(
                    f"the certificate to seal with is not given, cluster `{ground.cluster}` has Sealed Secrets",
                    hint="`kubeseal --fetch-cert > cluster.pem`, then --cert cluster.pem",
                )
            return SealedKeeper(sealing.certificate(certificate))
        case ExternalSecrets():
            return ExternalKeeper(kind)
        case Sops():
            return SopsKeeper(SopsProgram(folder, kind.age, kind.pgp))
        case MadeByOthers():
            return NobodyKeeps()
        case _:
            assert_never(kind)


def write_values(keeper: SecretKeeper, drafts: Sequence[SecretDraft]) -> str:
    """Return the values of Secrets as text for who makes them: what must be in a store, as JSON, or Secrets of Kubernetes."""
    if isinstance(keeper, ExternalKeeper):
        return json.dumps(keeper.list_entries(drafts), indent=2) + "\n"
    return dump_documents(_dump_plain(draft.complete(draft.values)) for draft in drafts)


def decrypt_by(kind: SecretKind) -> flux.Decryption | None:
    """Return how Flux opens what it applies; None where it applies what needs no opening."""
    match kind:
        case Sops(decryption_secret=name):
            return flux.Decryption(provider="sops", secret_ref=core.LocalReference(name=name))
        case SealedSecrets() | ExternalSecrets() | MadeByOthers():
            return None
        case _:
            assert_never(kind)


def judge_health(kind: SecretKind) -> tuple[flux.HealthCheck, ...] | None:
    """Return by what Flux sees that a Secret is there, where its object has no standard condition."""
    match kind:
        case SealedSecrets():
            check = flux.HealthCheck(
                api_version="bitnami.com/v1alpha1",
                kind=SEALED_KIND,
                failed=_SYNCED.format("False"),
                current=_SYNCED.format("True"),
            )
            return (check,)
        case ExternalSecrets() | Sops() | MadeByOthers():
            return None
        case _:
            assert_never(kind)


def read_sealed_file(text: str, source: str) -> SealedSecret:
    """Read a file with a SealedSecret; SealError names the file that has none."""
    try:
        return read_sealed(load_mapping(text, source, error=SealError))
    except SealError as error:
        message = error.message if source in error.message else f"{source}: {error.message}"
        raise SealError(message, hint=error.hint) from error


def _dump_plain(secret: PlainSecret) -> dict[str, Any]:
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": secret.metadata.dump_object(),
        "type": secret.type,
        **({} if secret.immutable is None else {"immutable": secret.immutable}),
    }
    try:
        return {**document, "stringData": {k: v.decode() for k, v in secret.values.items()}}
    except UnicodeDecodeError:
        coded = {k: base64.b64encode(v).decode() for k, v in secret.values.items()}
        return {**document, "data": coded}


def _write_go_duration(length: timedelta) -> str:
    seconds = length // timedelta(seconds=1)
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
