"""Write the platform's settings, and what stands in git of its Secrets, into a working copy of the cluster
repository."""

import os
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydantic

from driftloop.cluster import accounts, identities, settings
from driftloop.cluster.credentials import Addresses, PlatformCredentials
from driftloop.cluster.drafts import list_keys
from driftloop.cluster.folders import TreeChange
from driftloop.cluster.keeping import (
    NobodyKeeps,
    SecretKeeper,
    choose_keeper,
    write_values,
)
from driftloop.cluster.settings import Buckets, SettingsChange, SettingsFolder
from driftloop.contract import platform as contract
from driftloop.contract import trees
from driftloop.contract.layout import Layout
from driftloop.contract.names import (
    FLUX_BASE,
    FLUX_CONFIGS,
    NATS_NAMESPACE,
    PLATFORM_NAMESPACES,
    STORAGE_NAMESPACE,
)
from driftloop.errors import PipelineError
from driftloop.platform import PlatformFile
from driftloop.platform.model import Dependency
from driftloop.release import minisign
from driftloop.release.minisign import SigningKey
from driftloop.spec.values import NamespaceName

DEFAULTS = Addresses(git_url="https://example.invalid/x")
"""The platform's own addresses; the git URL has no default."""


@dataclass(frozen=True)
class SecretsPlace:
    """A working copy of the cluster repository, one of its clusters, and who keeps the Secrets there."""

    folder: Path
    ground: PlatformFile
    keeper: SecretKeeper
    values: Path | None
    """File that gets the values, for who makes the Secrets; None: nobody gets them."""

    @property
    def has_values(self) -> bool:
        """True if the values of Secrets go anywhere: into git, encrypted, or into a file."""
        return self.keeper.holds_values or self.values is not None

    def read(self) -> SettingsFolder:
        """Return the cluster's settings as they are."""
        return SettingsFolder(
            self.ground, self.keeper, _read_files(self.folder, self.ground.layout)
        )


def choose_place(
    folder: Path, ground: PlatformFile, *, certificate: bytes | None, values: Path | None
) -> SecretsPlace:
    """Return where a cluster's Secrets are written, by the kind that its platform file says. PipelineError when the
    options are those of another kind, or `values` would be committed or replaced."""
    keeper = choose_keeper(ground, certificate=certificate, folder=folder)
    if values is not None:
        if keeper.holds_values:
            raise PipelineError(
                f"--values is for Secrets that others make, cluster `{ground.cluster}` has "
                f"`secrets: {{type: {ground.spec.secrets.type}}}`",
                hint="leave it out: the values are in the files, encrypted",
            )
        if values.resolve().is_relative_to(folder.resolve()):
            raise PipelineError(
                f"--values is `{values}`, in the working copy: git never forgets a Secret",
                hint="name a file outside of it, such as /dev/shm/values.json, and remove it afterwards",
            )
        if values.exists():
            raise PipelineError(f"{values} exists already", hint="name another file, or remove it")
    return SecretsPlace(folder, ground, keeper, values)


@dataclass(frozen=True)
class WrittenPlatform:
    """What was written of a cluster's settings, and what a person should know about it."""

    paths: tuple[str, ...]
    removed: tuple[str, ...]
    needed: tuple[str, ...]
    """Secrets that others must make, each with its keys; none where their values are in the files."""
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
    """Other namespaces whose settings are from before NATS asked who connects, or whose users another keeper had."""
    is_unsigned: bool
    """True if no key that signs releases is known."""


def write_platform(
    place: SecretsPlace,
    namespaces: Sequence[str],
    addresses: Addresses,
    *,
    bucket: str | None,
    data: Sequence[str],
    environment: Mapping[str, str],
    force: bool,
) -> WrittenPlatform:
    """Write ConfigMap and Secrets of each namespace, and merge them with the files of a working copy.

    The credentials come from `environment`. Without `bucket` or `data` a namespace keeps the buckets that it has, or gets
    its own. PipelineError when a namespace has settings already, unless `force`, and when the object store is not the
    platform's own and its keys are not set.
    """
    names = tuple(dict.fromkeys(namespaces))
    for name in names:
        _check_namespace(name)
    ground = place.ground
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
            environment,
            needs_keys=not is_keyless,
            own_store=own_store,
            namespaces=names,
            has_values=place.has_values,
        )
        for name in names
    }
    own = place.read()
    present = own.present
    if bucket is None and "bucket" in ground.spec.object_store.model_fields_set:
        bucket = ground.spec.object_store.bucket
    settled = settings.settled(cluster, present)
    for name in names:
        if name in settled and not force:
            raise PipelineError(
                f"{layout.place(settings.config_path(cluster, name))} exists already",
                hint=f"--force replaces only the credentials of `{name}`; "
                "its running parts keep the old token until they restart",
            )
    _refuse_part(place, settled - set(names))
    buckets = {
        name: _choose_buckets(
            name,
            present.get(settings.config_path(cluster, name)),
            bucket,
            data,
            own_store=own_store,
        )
        for name in names
    }
    ordered = replace(own, ground=_order_settings(ground, place.folder))
    made = settings.tree(ordered, addresses, credentials, buckets=buckets, own_store=own_store)
    paths = _write(place, made)
    kept = tuple(sorted(settled - set(names)))
    store = own.list_keys(STORAGE_NAMESPACE, identities.SECRET_NAME)
    users = own.list_keys(NATS_NAMESPACE, accounts.SECRET_NAME)
    knows_users = bool(users) or own.name_file(accounts.SECRET_NAME) in " ".join(paths)
    return WrittenPlatform(
        paths,
        tuple(map(layout.place, made.change.removed)),
        needed=() if place.keeper.holds_values else list_keys(made.drafts),
        has_git_password=all(given.git_password for given in credentials.values())
        or not place.has_values,
        kept=kept,
        restarts_store=own_store and bool(store),
        left=() if own_store else tuple(name for name in names if identities.key(name) in store),
        shared=_find_shared(cluster, {**present, **made.change.files}, names),
        without_users=tuple(
            name for name in kept if knows_users and accounts.key(name) not in users
        ),
        is_unsigned=any(given.signing_key is None for given in credentials.values()),
    )


def _refuse_part(place: SecretsPlace, others: frozenset[str]) -> None:
    """Raise PipelineError where values would make a part of Secrets that all namespaces share, and nobody joins them."""
    if place.values is None or not others or not isinstance(place.keeper, NobodyKeeps):
        return
    named = ", ".join(sorted(others))
    raise PipelineError(
        f"{accounts.SECRET_NAME} and {identities.SECRET_NAME} hold what all namespaces have, and others make them: --values "
        f"without {named} would take theirs away",
        hint="name all of them, with --force: each gets new credentials; or leave --values out, and add the keys that are "
        "listed to these Secrets",
    )


def _write(place: SecretsPlace, made: SettingsChange) -> tuple[str, ...]:
    if place.values is not None:
        text = write_values(place.keeper, made.drafts)
        # for its owner alone, from the start
        handle = os.open(place.values, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w") as file:
            file.write(text)
    return write_change(made.change, place.folder, place.ground.layout)


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
    has_values: bool,
) -> PlatformCredentials:
    """Return the credentials of the environment; those of the platform's own store are random by
    default, and each namespace has its own. Where pods have an identity, there are no keys of a store. Where no value goes
    anywhere, none is asked for, and a key that signs is known only if it is given."""
    access, secret = (
        environment.get("AWS_ACCESS_KEY_ID", ""),
        environment.get("AWS_SECRET_ACCESS_KEY", ""),
    )
    if bool(access) != bool(secret):
        raise PipelineError("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
    if not access and not own_store and needs_keys and has_values:
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
    signs = has_values or contract.SIGNING_KEY.environment in environment
    key = read_signing_key(environment) if signs else None
    return replace(credentials, signing_key=key)


def read_signing_key(environment: Mapping[str, str]) -> SigningKey:
    """Return the key of the environment that signs releases, or a new one; SignatureError."""
    name = contract.SIGNING_KEY.environment
    text = environment.get(name, "")
    return minisign.read_signing_key(text, label=name) if text else minisign.make_signing_key()


def write_signing_key(
    place: SecretsPlace, namespace: str, environment: Mapping[str, str]
) -> tuple[SigningKey, tuple[str, ...]]:
    """Write the key by which a namespace signs from now on, and return it and the files; keys that it trusts stay
    trusted. PipelineError when a new key would go nowhere."""
    _check_namespace(namespace)
    name = contract.SIGNING_KEY.environment
    if not place.has_values and not environment.get(name):
        raise PipelineError(
            f"{name} is not set, and a new key would go nowhere: others make the Secrets of cluster `{place.ground.cluster}`",
            hint=f"set {name} to the key that they have, or name a file for a new one: --values FILE",
        )
    key = read_signing_key(environment)
    made = settings.change_signing_key(place.read(), namespace, key)
    return key, _write(place, made)


def write_tracking(
    place: SecretsPlace, namespace: str, environment: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the environment's credential of a namespace's tracking server, and return the files, and what others must
    make; PipelineError when there is none, or half of one."""
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
    made = settings.change_tracking(place.read(), namespace, credential)
    needed = () if place.keeper.holds_values else list_keys(made.drafts)
    return _write(place, made), needed


def _choose_buckets(
    namespace: str, present: str | None, bucket: str | None, data: Sequence[str], *, own_store: bool
) -> Buckets:
    """Return the buckets that are asked for, else those that the namespace has, else its own: one
    for runs and models, and for batches one of its name."""
    held = settings.read_buckets(present, f"the ConfigMap of {namespace}") if present else None
    shared = contract.S3_BUCKET.example
    new = f"{shared}-{namespace}" if own_store else shared
    own = bucket or (held.own if held else new)
    return Buckets(own, tuple(data) or (held.data if held else ()) or (namespace,))


def _find_shared(
    cluster: str, files: Mapping[str, str], names: Sequence[str]
) -> tuple[tuple[str, str, str], ...]:
    held = {
        name: settings.read_buckets(files[path], path)
        for name in sorted(settings.settled(cluster, files))
        if (path := settings.config_path(cluster, name)) in files
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
