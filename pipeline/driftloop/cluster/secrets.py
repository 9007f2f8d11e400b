"""Diagnosis of a cluster's Secrets, by who makes them. Nothing is written."""

from collections.abc import Iterator, Sequence
from typing import assert_never

from driftloop.cluster import accounts
from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import Reader, find_condition, items, name_item
from driftloop.contract.names import FLUX_BASE, NATS_NAMESPACE, OWN_SELECTOR
from driftloop.platform import PlatformFile
from driftloop.platform.notices import ADDRESS, PASSWORD
from driftloop.platform.secrets import (
    ExternalSecrets,
    MadeByOthers,
    SealedSecrets,
    SecretKind,
    Sops,
)

_EXTERNAL = "/apis/external-secrets.io/v1"


def list_crds(kind: SecretKind) -> tuple[tuple[str, str, str], ...]:
    """Return what makes Secrets: component, a CRD of it that is used, and who needs it."""
    match kind:
        case SealedSecrets():
            return (
                ("Sealed Secrets", "sealedsecrets.bitnami.com", f"see Kustomization {FLUX_BASE}"),
            )
        case ExternalSecrets():
            note = "`secrets: {type: external-secrets}` of the platform file needs the External Secrets Operator"
            return (("External Secrets", "externalsecrets.external-secrets.io", note),)
        case Sops() | MadeByOthers():
            return ()
        case _:
            assert_never(kind)


def tell_fix(ground: PlatformFile, namespace: str, name: str, keys: Sequence[str]) -> str:
    """Return what to do when a Secret of a pipeline's namespace lacks a key."""
    kind, listed = ground.spec.secrets, ", ".join(keys)
    match kind:
        case SealedSecrets() | Sops():
            return f"`driftloop secrets init --namespace {namespace} …`, and commit what it writes"
        case ExternalSecrets():
            return (
                f"`driftloop secrets init --namespace {namespace} …` writes its ExternalSecret; {kind.store.kind} "
                f"{kind.store.name} must hold {listed}"
            )
        case MadeByOthers():
            return f"others make it ({ground.path}): Secret {name} in {namespace} with {listed}"
        case _:
            assert_never(kind)


def find_unmade(reader: Reader, ground: PlatformFile) -> Findings:
    """Objects in git whose Secrets were not made."""
    kind = ground.spec.secrets
    match kind:
        case SealedSecrets():
            yield from _find_sealed(reader)
        case ExternalSecrets():
            yield from _find_external(reader, kind)
        case Sops() | MadeByOthers():
            return
        case _:
            assert_never(kind)


def find_keys_of_flux(reader: Reader, ground: PlatformFile) -> Findings:
    """The private key that Flux decrypts with, where Secrets are encrypted by sops."""
    kind, home = ground.spec.secrets, ground.spec.flux.namespace
    if not isinstance(kind, Sops):
        return
    name = kind.decryption_secret
    secret = reader.get(f"/api/v1/namespaces/{home}/secrets/{name}")
    held = (secret or {}).get("data") or {}
    if any(key.endswith((".agekey", ".asc")) or key.startswith("sops.") for key in held):
        yield DoctorFinding(Level.OK, f"Secret {home}/{name} has a key to decrypt with")
        return
    yield DoctorFinding(
        Level.WRONG,
        f"Secret {home}/{name} "
        + ("does not exist" if secret is None else "has no key that Flux decrypts with"),
        f"`kubectl -n {home} create secret generic {name} --from-file=identity.agekey=FILE`, with the file that age-keygen wrote",
    )


def find_named(reader: Reader, ground: PlatformFile) -> Findings:
    """Secrets that a platform file names, of people's own: those that images are pulled with, and receivers'."""
    homes = [
        each["metadata"]["name"]
        for each in items(reader, f"/api/v1/namespaces?{OWN_SELECTOR}") or []
    ]
    for home, name, key in dict.fromkeys(_list_named(ground, homes)):
        secret = reader.get(f"/api/v1/namespaces/{home}/secrets/{name}")
        if key in ((secret or {}).get("data") or {}):
            yield DoctorFinding(Level.OK, f"Secret {home}/{name} has {key}")
            continue
        yield DoctorFinding(
            Level.WRONG,
            f"Secret {home}/{name} " + ("does not exist" if secret is None else f"has no {key}"),
            f"{ground.path} names it: make it with the key {key}",
        )


def _list_named(ground: PlatformFile, homes: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield namespace, name and key."""
    for name in ground.spec.images.pull_secrets:
        yield from ((home, name, ".dockerconfigjson") for home in homes)
    for receiver in ground.spec.notifications.receivers:
        if receiver.type == "mail":
            if receiver.secret is not None:
                yield from ((home, receiver.secret, PASSWORD) for home in homes)
            continue
        # Argo CD tells nobody: Alertmanager does, in the pipelines' namespaces
        told = (ground.spec.flux.namespace,) if homes and ground.spec.follows == "flux" else ()
        places = (*told, *homes)
        yield from ((home, receiver.secret, ADDRESS) for home in places)


def users(reader: Reader, ground: PlatformFile) -> Findings:
    """Users of the platform's NATS for every pipeline namespace."""
    if reader.get(f"/api/v1/namespaces/{NATS_NAMESPACE}") is None:
        return
    homes = items(reader, f"/api/v1/namespaces?{OWN_SELECTOR}") or []
    path = f"/api/v1/namespaces/{NATS_NAMESPACE}/secrets/{accounts.SECRET_NAME}"
    secret = reader.get(path)
    if secret is None:
        yield DoctorFinding(
            Level.WRONG,
            f"NATS waits for the Secret {accounts.SECRET_NAME} in {NATS_NAMESPACE}: it has no users",
            "`driftloop secrets init …` writes it; commit what it writes"
            if not isinstance(ground.spec.secrets, MadeByOthers)
            else f"others make it ({ground.path}): `driftloop secrets init … --values FILE` makes its values",
        )
        return
    for namespace in (home["metadata"]["name"] for home in homes):
        if accounts.key(namespace) in (secret.get("data") or {}):
            yield DoctorFinding(Level.OK, f"{namespace} has its users in NATS")
            continue
        yield DoctorFinding(
            Level.WRONG,
            f"{namespace} has no users in NATS, which refuses its pods",
            f"`driftloop secrets init --namespace {namespace} --force …`, and commit what it writes",
        )


def _find_sealed(reader: Reader) -> Findings:
    path = "/apis/bitnami.com/v1alpha1/sealedsecrets"
    fix = "seal it again for this cluster, name and namespace: `driftloop seal --cert …`"
    for name, reason in _list_unmet(reader, path, "Synced", "controller"):
        yield DoctorFinding(Level.WRONG, f"SealedSecret {name} is not unsealed: {reason}", fix)


def _find_external(reader: Reader, kind: ExternalSecrets) -> Findings:
    if kind.store.kind == "ClusterSecretStore":
        yield from _find_store(reader, kind, f"{_EXTERNAL}/clustersecretstores/{kind.store.name}")
    fix = "its `spec.data` names the entries that must be in the store; `driftloop secrets init … --values FILE` makes them"
    for name, reason in _list_unmet(reader, f"{_EXTERNAL}/externalsecrets", "Ready", "operator"):
        yield DoctorFinding(Level.WRONG, f"ExternalSecret {name} has no Secret: {reason}", fix)


def _list_unmet(reader: Reader, path: str, condition: str, maker: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each object whose condition is not true, and what its maker says of it."""
    for item in items(reader, path) or []:
        found = find_condition(item, condition) or {}
        if found.get("status") != "True":
            yield name_item(item), found.get("message") or f"the {maker} has not reconciled it"


def _find_store(reader: Reader, kind: ExternalSecrets, path: str) -> Findings:
    label = f"{kind.store.kind} {kind.store.name}"
    store = reader.get(path)
    ready = None if store is None else find_condition(store, "Ready")
    if store is None:
        yield DoctorFinding(
            Level.WRONG,
            f"{label} does not exist",
            "create it, or correct `spec.secrets.store` of the platform file",
        )
    elif ready is not None and ready["status"] != "True":
        yield DoctorFinding(
            Level.WRONG,
            f"{label} is not ready: {ready.get('message', 'no reason given')}",
            "the operator can't read the store: its address, and the credential that the store object names",
        )
    else:
        yield DoctorFinding(Level.OK, f"{label} exists")
