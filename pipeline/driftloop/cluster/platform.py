"""`driftloop-platform` on a cluster: the ConfigMap in clear, the Secret sealed, the way to
addresses of the user's own, and what makes Flux apply them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from driftloop.cluster import accounts, folders, identities, network, signing
from driftloop.cluster.accounts import NatsPasswords
from driftloop.contract import platform as contract
from driftloop.contract import trees
from driftloop.contract.accounts import NatsRole
from driftloop.contract.names import (
    DATA_BUCKETS_ANNOTATION,
    FLUX_APPLIED_ONCE,
    FLUX_BASE,
    GATEWAY_URL,
    GIT_SECRET,
    NATS_NAMESPACE,
    NATS_URL,
    OWN_LABELS,
    PLATFORM,
    SIGNING_SECRET,
    STORAGE_NAMESPACE,
    STORAGE_URL,
    TRACKING_SECRET,
)
from driftloop.errors import PipelineError
from driftloop.kube import core, flux
from driftloop.kube.base import ObjectMeta, ObjectPart, ObjectReference
from driftloop.kube.sealed import PlainSecret, Scope, SealedSecret
from driftloop.platform import PlatformFile
from driftloop.platform.model import Dependency
from driftloop.release.minisign import PublicKey, SigningKey, make_signing_key
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping

SEALED = f"{PLATFORM}.sealedsecret.yaml"
"""File of a namespace's sealed credentials."""
SEALED_SIGNING = f"{SIGNING_SECRET}.sealedsecret.yaml"
"""File of its sealed key that signs releases."""
CONFIG = f"{PLATFORM}.configmap.yaml"
SEALED_TRACKING = f"{TRACKING_SECRET}.sealedsecret.yaml"
"""File of the sealed credential of its tracking server; none where that asks for none."""
SEALED_GIT = f"{GIT_SECRET}.sealedsecret.yaml"
"""File of its sealed credential of git."""
# exists(), not all(): all() over no conditions is true and would fail a fresh one
_SYNCED = (
    "has(status.conditions) && status.conditions.exists(c, c.type == 'Synced' && c.status == '{}')"
)


@dataclass(frozen=True)
class Addresses:
    """Addresses of a cluster's parts; the defaults are those of cluster/infrastructure."""

    git_url: str
    git_branch: str = "main"
    s3_endpoint: str = STORAGE_URL
    s3_region: str = contract.S3_REGION.example
    nats_url: str = NATS_URL
    kubernetes_url: str = contract.KUBERNETES_URL.example
    gateway_url: str = GATEWAY_URL

    def __post_init__(self) -> None:
        for name, schemes in (
            ("s3_endpoint", ("http", "https")),
            ("nats_url", ("nats", "tls")),
            ("git_url", ("http", "https", "ssh", "file")),
        ):
            url = urlsplit(getattr(self, name))
            if url.scheme not in schemes or not (url.netloc or url.scheme == "file"):
                raise PipelineError(
                    f"{name.replace('_', '-')} is `{getattr(self, name)}`, must be a URL with one of: "
                    + ", ".join(f"{scheme}://" for scheme in schemes)
                )
            if url.password is not None:
                raise PipelineError(
                    f"{name.replace('_', '-')} contains a password, which would be committed in plain text",
                    hint="pass credentials in the environment (see --help)",
                )

    @property
    def parts(self) -> dict[str, str]:
        """Addresses that a pipeline's pods call, by the names that NetworkPolicies have for
        them."""
        return {
            "s3": self.s3_endpoint,
            "nats": self.nats_url,
            "git": self.git_url,
            "kubernetes": self.kubernetes_url,
        }


OWN = Addresses(git_url="https://git.invalid/").parts
"""The addresses of cluster/infrastructure, which the rendered NetworkPolicies open; git is never
among them."""


@dataclass(frozen=True)
class Buckets:
    """Buckets and prefixes that a namespace's key of the object store opens."""

    own: str
    """Runs and models."""
    data: tuple[str, ...]
    """Batches."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every one of them."""
        return tuple(dict.fromkeys((self.own, *self.data)))


def read_buckets(text: str, source: str) -> Buckets:
    """Read the buckets of a namespace from its ConfigMap `driftloop-platform`."""
    document = load_mapping(text, source)
    own = (document.get("data") or {}).get(contract.S3_BUCKET.key)
    if not isinstance(own, str):
        raise PipelineError(f"{source}: `data.{contract.S3_BUCKET.key}` is not text")
    listed = ((document.get("metadata") or {}).get("annotations") or {}).get(
        DATA_BUCKETS_ANNOTATION, ""
    )
    return Buckets(own, tuple(filter(None, str(listed).split(","))))


@dataclass(frozen=True)
class PlatformCredentials:
    """Credentials to seal. The webhook token and the passwords of NATS are random unless given."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    git_username: str = field(default="", repr=False)
    git_password: str = field(default="", repr=False)
    webhook_token: str = field(default_factory=lambda: secrets.token_urlsafe(36), repr=False)
    nats: NatsPasswords = field(default_factory=NatsPasswords, repr=False)
    nats_username: str = field(default="", repr=False)
    """User of a NATS that is not the platform's, for all that connect to it."""
    nats_password: str = field(default="", repr=False)
    signing_key: SigningKey = field(default_factory=make_signing_key, repr=False)
    """Key that signs releases."""


def config_map(
    namespace: str,
    addresses: Addresses,
    buckets: Buckets,
    trusted: tuple[PublicKey, ...] = (),
    *,
    is_keyless: bool = False,
) -> core.ConfigMap:
    """The addresses, Argo's artifact repository made from them, and the keys whose signatures of
    releases count."""
    endpoint = urlsplit(addresses.s3_endpoint)
    repository = contract.artifact_repository(
        endpoint.netloc,
        insecure=endpoint.scheme == "http",
        bucket=buckets.own,
        region=addresses.s3_region,
        create_bucket=not is_keyless,
        is_keyless=is_keyless,
    )
    return core.ConfigMap(
        metadata=ObjectMeta(
            name=PLATFORM,
            namespace=namespace,
            labels=OWN_LABELS,
            annotations={DATA_BUCKETS_ANNOTATION: ",".join(buckets.data)},
        ),
        data={
            contract.S3_ENDPOINT.key: addresses.s3_endpoint,
            contract.S3_REGION.key: addresses.s3_region,
            contract.S3_BUCKET.key: buckets.own,
            contract.NATS.key: addresses.nats_url,
            contract.GIT_URL.key: addresses.git_url,
            contract.GIT_BRANCH.key: addresses.git_branch,
            contract.KUBERNETES_URL.key: addresses.kubernetes_url,
            contract.GATEWAY.key: addresses.gateway_url,
            contract.ARTIFACT_REPOSITORY.key: dump_yaml(repository),
            contract.SIGNING_KEYS.key: signing.write_keys(trusted),
        },
    )


def secret(namespace: str, addresses: Addresses, credentials: PlatformCredentials) -> PlainSecret:
    """Credentials of all but git: the same keys in the spellings of boto3, Argo and Seldon's
    rclone."""
    access, key = credentials.access_key, credentials.secret_key
    stored = {
        contract.ACCESS_KEY.key: access,
        contract.SECRET_KEY.key: key,
        **contract.rclone_settings(addresses.s3_endpoint, access, key),
    }
    values = {
        **(stored if access else {}),
        **_nats(namespace, addresses, credentials),
        contract.WEBHOOK_TOKEN.key: credentials.webhook_token,
    }
    return _plain(PLATFORM, namespace, values)


def git_secret(namespace: str, credentials: PlatformCredentials) -> PlainSecret:
    """The credential of the cluster repository, in a Secret that nothing takes whole."""
    values = {
        contract.GIT_USERNAME.key: credentials.git_username,
        contract.GIT_PASSWORD.key: credentials.git_password,
    }
    return _plain(GIT_SECRET, namespace, values)


def tracking_secret(namespace: str, credential: Mapping[str, str]) -> PlainSecret:
    """The credential of a tracking server, which the decision's pod takes; by key."""
    return _plain(TRACKING_SECRET, namespace, credential)


def _plain(name: str, namespace: str, values: Mapping[str, str]) -> PlainSecret:
    return PlainSecret(
        metadata=ObjectMeta(name=name, namespace=namespace, labels=OWN_LABELS),
        values={key: value.encode() for key, value in values.items()},
    )


def _nats(namespace: str, addresses: Addresses, credentials: PlatformCredentials) -> dict[str, str]:
    """The users of NATS by key. Argo's bus is on the platform's own in any case."""
    own = {role: (role.of(namespace), credentials.nats.values[role]) for role in NatsRole}
    users = own
    if addresses.nats_url != NATS_URL:
        users = dict.fromkeys(own, (credentials.nats_username, credentials.nats_password))
    urls = {
        setting.key: contract.nats_url(addresses.nats_url, *users[role])
        if users[role][0]
        else addresses.nats_url
        for role, setting in contract.NATS_ROLES.items()
    }
    bus = contract.event_bus_credential(*own[NatsRole.BUS])
    return {**urls, contract.NATS_ROLES[NatsRole.BUS].key: bus}


def tree(
    cluster: str,
    addresses: Addresses,
    credentials: Mapping[str, PlatformCredentials],
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    present: Mapping[str, str],
    *,
    buckets: Mapping[str, Buckets],
    own_store: bool,
    ground: PlatformFile,
) -> folders.TreeChange:
    """Return what is written for the namespaces of `credentials`: a folder each below
    cluster/platform/<cluster>, and the Flux object that applies them.

    `present` holds the files that are there, by path; what they have of other namespaces stays.
    """
    base = trees.platform_folder(cluster)
    change = folders.TreeChange()
    for namespace, own in credentials.items():
        opened = network.policies(namespace, addresses.parts, OWN)
        change |= folders.replace(
            f"{base}/{namespace}",
            {
                folders.NAMESPACE: folders.home(namespace, OWN_LABELS),
                CONFIG: config_map(
                    namespace,
                    addresses,
                    buckets[namespace],
                    signing.add_key(
                        own.signing_key.public,
                        present.get(f"{base}/{namespace}/{CONFIG}"),
                        namespace,
                    ),
                    is_keyless=not own.access_key,
                ),
                SEALED: seal(secret(namespace, addresses, own), Scope.STRICT),
                SEALED_GIT: seal(git_secret(namespace, own), Scope.STRICT),
                SEALED_SIGNING: seal(signing.secret(namespace, own.signing_key), Scope.STRICT),
                **{f"{name}.networkpolicy.yaml": policy for name, policy in opened.items()},
            },
            present,
            # a command of its own writes it
            keep=(SEALED_TRACKING,),
        )
    added = {*credentials, NATS_NAMESPACE}
    change |= _nats_users(f"{base}/{NATS_NAMESPACE}", credentials, seal, present)
    if own_store:
        others = settled(cluster, present) - added
        keys = {
            name: identities.StoreKey(own.access_key, own.secret_key, buckets[name].all)
            for name, own in credentials.items()
        }
        change |= _store(f"{base}/{STORAGE_NAMESPACE}", keys, seal, present, others)
        added.add(STORAGE_NAMESPACE)
    change |= folders.list_resources(base, added, present)
    path = trees.platform_path(cluster)
    if path not in present:
        change |= folders.TreeChange({path: folders.text(_flux(ground))})
    return change


def change_signing_key(
    cluster: str,
    namespace: str,
    key: SigningKey,
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    present: Mapping[str, str],
) -> folders.TreeChange:
    """Return the change by which a namespace signs with another key; those that it trusts stay
    trusted. PipelineError when the namespace has no settings."""
    path = config_path(cluster, namespace)
    if path not in present:
        raise PipelineError(
            f"{path} does not exist", hint=f"`driftloop secrets init -n {namespace} …` writes it"
        )
    trusted = signing.add_key(key.public, present[path], namespace)
    config = core.ConfigMap.model_validate(load_mapping(present[path], path))
    data = {**config.data, contract.SIGNING_KEYS.key: signing.write_keys(trusted)}
    objects: dict[str, ObjectPart] = {
        CONFIG: config.model_copy(update={"data": data}),
        SEALED_SIGNING: seal(signing.secret(namespace, key), Scope.STRICT),
    }
    return folders.add(f"{trees.platform_folder(cluster)}/{namespace}", objects, present)


def change_tracking(
    cluster: str,
    namespace: str,
    credential: Mapping[str, str],
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    present: Mapping[str, str],
) -> folders.TreeChange:
    """Return the change by which a namespace has another credential of its tracking server.
    PipelineError when the namespace has no settings."""
    path = config_path(cluster, namespace)
    if path not in present:
        raise PipelineError(
            f"{path} does not exist", hint=f"`driftloop secrets init -n {namespace} …` writes it"
        )
    objects: dict[str, ObjectPart] = {
        SEALED_TRACKING: seal(tracking_secret(namespace, credential), Scope.STRICT)
    }
    return folders.add(f"{trees.platform_folder(cluster)}/{namespace}", objects, present)


def settled(cluster: str, present: Mapping[str, str]) -> frozenset[str]:
    """Return the namespaces that have settings in the files that are there."""
    paths = (PurePosixPath(path) for path in present)
    base = trees.platform_folder(cluster)
    return frozenset(
        path.parent.name for path in paths if path.name == SEALED and str(path.parents[1]) == base
    )


def config_path(cluster: str, namespace: str) -> str:
    """Return the path of a namespace's ConfigMap."""
    return f"{trees.platform_folder(cluster)}/{namespace}/{CONFIG}"


def store_path(cluster: str) -> str:
    """Return the path of the store's identities."""
    return f"{trees.platform_folder(cluster)}/{STORAGE_NAMESPACE}/{identities.FILE}"


def users_path(cluster: str) -> str:
    """Return the path of the users of NATS."""
    return f"{trees.platform_folder(cluster)}/{NATS_NAMESPACE}/{accounts.FILE}"


def _nats_users(
    path: str,
    credentials: Mapping[str, PlatformCredentials],
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    present: Mapping[str, str],
) -> folders.TreeChange:
    file = f"{path}/{accounts.FILE}"
    old = identities.read(present[file], file) if file in present else None
    objects: dict[str, ObjectPart] = {}
    knative = None
    if (
        old is None
        or not accounts.has_knative(old)
        or f"{path}/{accounts.KNATIVE_FILE}" not in present
    ):
        knative = secrets.token_urlsafe(32)
        objects[accounts.KNATIVE_FILE] = seal(accounts.knative_secret(knative), Scope.STRICT)
    passwords = {name: own.nats for name, own in credentials.items()}
    fresh = seal(accounts.secret(passwords, knative), Scope.STRICT)
    objects[accounts.FILE] = accounts.merge(old, fresh)
    if f"{path}/{folders.NAMESPACE}" not in present:
        objects[folders.NAMESPACE] = folders.home(NATS_NAMESPACE, None)
    return folders.add(path, objects, present)


def _store(
    path: str,
    keys: Mapping[str, identities.StoreKey],
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    present: Mapping[str, str],
    others: frozenset[str],
) -> folders.TreeChange:
    fresh = seal(identities.secret(keys), Scope.STRICT)
    file = f"{path}/{identities.FILE}"
    if file not in present:
        objects: dict[str, ObjectPart] = {identities.FILE: identities.join(fresh)}
    else:
        joined = identities.merge(identities.read(present[file], file), fresh, others)
        objects = {
            identities.FILE: joined,
            identities.RESTART_FILE: identities.restart(joined),
        }
    if f"{path}/{folders.NAMESPACE}" not in present:
        objects[folders.NAMESPACE] = folders.home(STORAGE_NAMESPACE, None)
    return folders.add(path, objects, present)


def _list_first(ground: PlatformFile) -> tuple[flux.KustomizationDependency, ...]:
    """Return the Kustomizations that install the controllers of what is applied here."""
    first = (
        ground.spec.flux.depends_on if ground.layout.is_declared else (Dependency(name=FLUX_BASE),)
    )
    return tuple(
        flux.KustomizationDependency(
            name=each.name, namespace=each.namespace, ready_expr=FLUX_APPLIED_ONCE
        )
        for each in first
    )


def _flux(ground: PlatformFile) -> flux.Kustomization:
    own, base = ground.spec.flux, f"{trees.platform_folder(ground.cluster)}/"
    return flux.Kustomization(
        metadata=ObjectMeta(name="platform", namespace=own.namespace),
        spec=flux.KustomizationSpec(
            interval="10m",
            retry_interval="1m",
            timeout="5m",
            service_account_name=own.service_account_name,
            path=f"./{ground.layout.place(base).rstrip('/')}",
            prune=True,
            wait=True,
            source_ref=ObjectReference(
                kind=own.source_ref.kind,
                name=own.source_ref.name,
                namespace=own.source_ref.namespace,
            ),
            depends_on=_list_first(ground) or None,
            health_check_exprs=(
                flux.HealthCheck(
                    api_version="bitnami.com/v1alpha1",
                    kind="SealedSecret",
                    failed=_SYNCED.format("False"),
                    current=_SYNCED.format("True"),
                ),
            ),
        ),
    )
