"""Write the platform's settings and its sealed credentials into a working copy of the cluster
repository."""

import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydantic

from driftloop.cluster import accounts, identities, platform, sealing
from driftloop.cluster.folders import TreeChange
from driftloop.cluster.platform import Addresses, Buckets, PlatformCredentials
from driftloop.contract import platform as contract
from driftloop.contract import trees
from driftloop.contract.layout import Layout
from driftloop.contract.names import FLUX_BASE, FLUX_CONFIGS, PLATFORM_NAMESPACES
from driftloop.errors import PipelineError
from driftloop.platform import PlatformFile
from driftloop.platform.model import Dependency
from driftloop.release import minisign
from driftloop.release.minisign import SigningKey
from driftloop.spec.values import NamespaceName

DEFAULTS = Addresses(git_url="https://example.invalid/x")
"""The platform's own addresses; the git URL has no default."""


@dataclass(frozen=True)
class SealedPlatform:
    """The change to the cluster repository, and what a person should know about it."""

    change: TreeChange
    has_git_password: bool
    kept: tuple[str, ...]
    """Other namespaces that have settings; nothing of theirs changes."""
    restarts_store: bool
    """True if the platform's own store runs with identities that change."""
    left: tuple[str, ...]
    """Namespaces that use another store now, and still have an identity in the platform's own."""
    shared: tuple[tuple[str, str, str], ...]
    """A namespace, a bucket that its key opens, and another namespace whose key does so, too."""
    without_users: tuple[str, ...]
    """Other namespaces whose settings are from before NATS asked who connects."""


def seal_platform(
    folder: Path,
    ground: PlatformFile,
    namespaces: Sequence[str],
    addresses: Addresses,
    *,
    bucket: str | None,
    data: Sequence[str],
    certificate: bytes,
    environment: Mapping[str, str],
    force: bool,
) -> SealedPlatform:
    """Render ConfigMap and SealedSecret `driftloop-platform` for each namespace, and merge them
    with the files of a working copy.

    `certificate` is the controller's (PEM); the credentials come from `environment`. Without
    `bucket` or `data` a namespace keeps the buckets that it has, or gets its own.
    PipelineError when a namespace has settings already, unless `force`, and when the object store
    is not the platform's own and its keys are not set.
    """
    names = tuple(dict.fromkeys(namespaces))
    for name in names:
        _check_namespace(name)
    cluster, layout = ground.cluster, ground.layout
    own_store = addresses.s3_endpoint == DEFAULTS.s3_endpoint
    is_keyless = ground.spec.object_store.credentials == "workload-identity"
    if is_keyless and own_store:
        raise PipelineError(
            f"{ground.path}: `credentials: workload-identity` needs another object store: the platform's own knows keys only",
            hint="`spec.objectStore.endpoint` names it",
        )
    credentials = {
        name: read_credentials(
            environment, needs_keys=not is_keyless, own_store=own_store, namespaces=names
        )
        for name in names
    }
    present = _read_files(folder, layout)
    if bucket is None and "bucket" in ground.spec.object_store.model_fields_set:
        bucket = ground.spec.object_store.bucket
    settled = platform.settled(cluster, present)
    for name in names:
        if name in settled and not force:
            raise PipelineError(
                f"{layout.place(trees.platform_folder(cluster) + '/')}{name}/{platform.SEALED} exists already",
                hint=f"--force replaces only the credentials of `{name}`; "
                "its running parts keep the old token until they restart",
            )
    key = sealing.certificate(certificate)
    buckets = {
        name: _choose_buckets(
            name,
            present.get(platform.config_path(cluster, name)),
            bucket,
            data,
            own_store=own_store,
        )
        for name in names
    }
    change = platform.tree(
        cluster,
        addresses,
        credentials,
        lambda secret, scope: sealing.seal(secret, key, scope),
        present,
        buckets=buckets,
        own_store=own_store,
        ground=_order_settings(ground, folder),
    )
    store, users = platform.store_path(cluster), platform.users_path(cluster)
    kept = tuple(sorted(settled - set(names)))
    sealed_users = identities.read(change.files[users], users)
    return SealedPlatform(
        change,
        has_git_password=all(own.git_password for own in credentials.values()),
        kept=kept,
        restarts_store=own_store and store in present,
        left=() if own_store or store not in present else _left(present[store], store, names),
        shared=_find_shared(cluster, {**present, **change.files}, names),
        without_users=tuple(name for name in kept if not accounts.has_users(sealed_users, name)),
    )


def write_change(change: TreeChange, folder: Path, layout: Layout) -> tuple[str, ...]:
    """Write and remove the files below a folder, where a layout places them, and return the paths of those
    written."""
    placed = {layout.place(path): text for path, text in change.files.items()}
    for path, text in placed.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for path in change.removed:
        (folder / layout.place(path)).unlink()
    return tuple(placed)


def read_credentials(
    environment: Mapping[str, str],
    *,
    needs_keys: bool,
    own_store: bool,
    namespaces: Sequence[str],
) -> PlatformCredentials:
    """Return the credentials of the environment; those of the platform's own store are random by
    default, and each namespace has its own. Where pods have an identity, there are no keys of a store."""
    access, secret = (
        environment.get("AWS_ACCESS_KEY_ID", ""),
        environment.get("AWS_SECRET_ACCESS_KEY", ""),
    )
    if bool(access) != bool(secret):
        raise PipelineError("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
    if not access and not own_store and needs_keys:
        raise PipelineError(
            "the keys of the object store are not set",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if access and own_store and len(namespaces) > 1:
        raise PipelineError(
            "AWS_ACCESS_KEY_ID holds the key of one namespace, "
            f"{len(namespaces)} are named: {', '.join(namespaces)}",
            hint="unset it for random keys, or run the command once for each namespace",
        )
    credentials = PlatformCredentials(
        access_key=(access or random.token_hex(10)) if needs_keys else "",
        secret_key=(secret or random.token_urlsafe(30)) if needs_keys else "",
        git_username=environment.get("DRIFTLOOP_GIT_USERNAME", ""),
        git_password=environment.get("DRIFTLOOP_GIT_PASSWORD", ""),
        nats_username=environment.get("DRIFTLOOP_NATS_USERNAME", ""),
        nats_password=environment.get("DRIFTLOOP_NATS_PASSWORD", ""),
    )
    if token := environment.get(contract.WEBHOOK_TOKEN.environment, ""):
        credentials = replace(credentials, webhook_token=token)
    return replace(credentials, signing_key=read_signing_key(environment))


def read_signing_key(environment: Mapping[str, str]) -> SigningKey:
    """Return the key of the environment that signs releases, or a new one; SignatureError."""
    name = contract.SIGNING_KEY.environment
    text = environment.get(name, "")
    return minisign.read_signing_key(text, label=name) if text else minisign.make_signing_key()


def seal_signing_key(
    folder: Path,
    ground: PlatformFile,
    namespace: str,
    *,
    certificate: bytes,
    environment: Mapping[str, str],
) -> tuple[SigningKey, TreeChange]:
    """Return the key by which a namespace signs from now on, and the change to a working copy's
    files; keys that it trusts stay trusted."""
    _check_namespace(namespace)
    public, key = sealing.certificate(certificate), read_signing_key(environment)
    change = platform.change_signing_key(
        ground.cluster,
        namespace,
        key,
        lambda secret, scope: sealing.seal(secret, public, scope),
        _read_files(folder, ground.layout),
    )
    return key, change


def seal_tracking(
    folder: Path,
    ground: PlatformFile,
    namespace: str,
    *,
    certificate: bytes,
    environment: Mapping[str, str],
) -> TreeChange:
    """Return the change to a working copy's files by which a namespace has the environment's
    credential of its tracking server; PipelineError when there is none, or half of one."""
    _check_namespace(namespace)
    credential = {
        setting.key: value
        for setting in contract.TRACKING_SETTINGS
        if (value := environment.get(setting.environment, ""))
    }
    user, password, token = contract.TRACKING_SETTINGS
    if token.key not in credential and not {user.key, password.key} <= credential.keys():
        raise PipelineError(
            "the credential of the tracking server is not set",
            hint=f"set {token.environment}, or {user.environment} and {password.environment}",
        )
    public = sealing.certificate(certificate)
    return platform.change_tracking(
        ground.cluster,
        namespace,
        credential,
        lambda secret, scope: sealing.seal(secret, public, scope),
        _read_files(folder, ground.layout),
    )


def _choose_buckets(
    namespace: str, present: str | None, bucket: str | None, data: Sequence[str], *, own_store: bool
) -> Buckets:
    """Return the buckets that are asked for, else those that the namespace has, else its own: one
    for runs and models, and for batches one of its name."""
    held = platform.read_buckets(present, f"the ConfigMap of {namespace}") if present else None
    shared = contract.S3_BUCKET.example
    new = f"{shared}-{namespace}" if own_store else shared
    own = bucket or (held.own if held else new)
    return Buckets(own, tuple(data) or (held.data if held else ()) or (namespace,))


def _find_shared(
    cluster: str, files: Mapping[str, str], names: Sequence[str]
) -> tuple[tuple[str, str, str], ...]:
    held = {
        name: platform.read_buckets(files[path], path)
        for name in sorted(platform.settled(cluster, files))
        if (path := platform.config_path(cluster, name)) in files
    }
    return tuple(
        (name, bucket, other)
        for name in names
        for bucket in held[name].all
        for other in held
        if other != name and bucket in held[other].all
    )


def _order_settings(ground: PlatformFile, folder: Path) -> PlatformFile:
    """Return the ground by which settings come before what waits for them: driftloop's own infrastructure takes NATS'
    users and the store's identities from here before it is ready."""
    if ground.read is None:
        return ground
    stages = folder / ground.layout.place(f"{trees.CLUSTER}/{ground.cluster}/infrastructure.yaml")
    if not stages.is_file() or f"name: {FLUX_BASE}" not in stages.read_text():
        return ground
    own = ground.spec.flux
    first = tuple(each for each in own.depends_on if each.name not in (FLUX_BASE, FLUX_CONFIGS))
    flux = own.model_copy(update={"depends_on": (Dependency(name=FLUX_BASE), *first)})
    spec = ground.spec.model_copy(update={"flux": flux})
    return replace(ground, read=ground.read.model_copy(update={"spec": spec}))


def _check_namespace(name: str) -> None:
    try:
        pydantic.TypeAdapter(NamespaceName).validate_python(name)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise PipelineError(f"namespace `{name}` {reason}") from error
    if name in PLATFORM_NAMESPACES:
        raise PipelineError(
            f"`{name}` is a namespace of the platform", hint="a pipeline has its own namespace"
        )


def _read_files(folder: Path, layout: Layout) -> dict[str, str]:
    paths = [*(folder / layout.place(f"{trees.platform_folder(layout.cluster)}/")).rglob("*.yaml")]
    paths.append(folder / layout.place(trees.platform_path(layout.cluster)))
    files = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            if path.is_file():
                files[layout.find(name) or name] = path.read_text()
        except UnicodeDecodeError as error:
            raise PipelineError(f"{name}: not UTF-8 text: {error.reason}") from error
    return files


def _left(text: str, source: str, names: Sequence[str]) -> tuple[str, ...]:
    sealed = identities.read(text, source)
    return tuple(name for name in names if identities.has_identity(sealed, name))
