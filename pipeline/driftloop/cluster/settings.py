"""`driftloop-platform` on a cluster: the ConfigMap in clear, Secrets as their keeper has them, the way to
addresses of the user's own, and what makes Flux or Argo CD apply them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import assert_never
from urllib.parse import urlsplit

from driftloop.cluster import accounts, folders, identities, network, signing
from driftloop.cluster.credentials import (
    OWN,
    Addresses,
    PlatformCredentials,
    draft_git,
    draft_settings,
    draft_tracking,
)
from driftloop.cluster.drafts import SecretDraft, SharedDraft
from driftloop.cluster.keeping import SEALED_KIND, SUFFIXES, SecretKeeper, decrypt_by, judge_health
from driftloop.contract import platform as contract
from driftloop.contract import trees
from driftloop.contract.names import (
    DATA_BUCKETS_ANNOTATION,
    FLUX_APPLIED_ONCE,
    FLUX_BASE,
    NATS_NAMESPACE,
    OWN_LABELS,
    PLATFORM,
    STORAGE_NAMESPACE,
    TRACKING_SECRET,
)
from driftloop.errors import PipelineError
from driftloop.kube import core, flux
from driftloop.kube.base import ObjectMeta, ObjectPart, ObjectReference
from driftloop.platform import PlatformFile
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.model import Dependency, Flux
from driftloop.platform.secrets import MadeByOthers
from driftloop.release.minisign import PublicKey, SigningKey
from driftloop.resources.argocd import build_settings_application
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping

CONFIG = f"{PLATFORM}.configmap.yaml"
"""File of a namespace's settings."""


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
            **({contract.CONSOLE_URL.key: addresses.console_url} if addresses.console_url else {}),
        },
    )


@dataclass(frozen=True)
class SettingsChange:
    """A change to a cluster's settings, and the Secrets of it before anybody keeps them."""

    change: folders.TreeChange = field(default_factory=folders.TreeChange)
    drafts: tuple[SecretDraft, ...] = ()

    def __or__(self, other: "SettingsChange") -> "SettingsChange":
        return SettingsChange(self.change | other.change, (*self.drafts, *other.drafts))


@dataclass(frozen=True)
class SettingsFolder:
    """A cluster's settings in a working copy, and who keeps its Secrets."""

    ground: PlatformFile
    keeper: SecretKeeper
    present: Mapping[str, str]
    """Files that are there, by path; what they have of other namespaces stays."""

    @property
    def base(self) -> str:
        """Folder with one folder for each namespace."""
        return trees.platform_folder(self.ground.cluster)

    def find_file(self, folder: str, secret: str) -> str:
        """Return the path of a Secret's file below a folder of a namespace."""
        return f"{self.base}/{folder}/{self.name_file(secret)}"

    def name_file(self, secret: str) -> str:
        """Return the name of a Secret's file."""
        return f"{secret}.{self.keeper.suffix}.yaml"

    def keep(self, folder: str, *drafts: SecretDraft) -> dict[str, ObjectPart | str]:
        """Return what stands in git of Secrets, by the names of the files."""
        kept = {
            self.name_file(draft.name): self.keeper.keep(draft, self._place(folder, draft))
            for draft in drafts
        }
        return {name: each for name, each in kept.items() if each is not None}

    def join(self, folder: str, draft: SharedDraft) -> dict[str, ObjectPart | str]:
        """Return the same of a shared Secret, with what is there."""
        path = self.find_file(folder, draft.name)
        joined = self.keeper.join(draft, self.present.get(path), self._place(folder, draft))
        return {} if joined is None else {self.name_file(draft.name): joined}

    def list_keys(self, folder: str, secret: str) -> frozenset[str]:
        """Return the keys that a shared Secret has in git."""
        path = self.find_file(folder, secret)
        text = self.present.get(path)
        return frozenset() if text is None else self.keeper.list_keys(text, path)

    def _place(self, folder: str, draft: SecretDraft) -> str:
        return self.ground.layout.place(self.find_file(folder, draft.name))


def tree(
    own: SettingsFolder,
    addresses: Addresses,
    credentials: Mapping[str, PlatformCredentials],
    *,
    buckets: Mapping[str, Buckets],
    own_store: bool,
) -> SettingsChange:
    """Return what is written for the namespaces of `credentials`: a folder each below
    cluster/platform/<cluster>, and the object of Flux or Argo CD that applies them."""
    _refuse_filled_in(own.ground)
    cluster, base, present = own.ground.cluster, own.base, own.present
    is_keyless = own.ground.spec.object_store.credentials == "workload-identity"
    change = SettingsChange()
    for namespace, given in credentials.items():
        opened = network.policies(namespace, addresses.parts, OWN)
        config = present.get(f"{base}/{namespace}/{CONFIG}")
        drafts = _draft_namespace(namespace, addresses, given)
        written = folders.replace(
            f"{base}/{namespace}",
            {
                **_name_home(own.ground, namespace),
                CONFIG: config_map(
                    namespace,
                    _keep_console(addresses, config, namespace),
                    buckets[namespace],
                    signing.add_key(given.signing_key, config, namespace),
                    is_keyless=is_keyless,
                ),
                **own.keep(namespace, *drafts),
                **{f"{name}.networkpolicy.yaml": policy for name, policy in opened.items()},
            },
            present,
            # a command of its own writes it
            keep=(own.name_file(TRACKING_SECRET),),
        )
        change |= SettingsChange(written, drafts)
    added = {*credentials, NATS_NAMESPACE}
    change |= _nats_users(own, credentials)
    if own_store:
        others = settled(cluster, present) - added
        keys = {
            name: identities.StoreKey(given.access_key, given.secret_key, buckets[name].all)
            for name, given in credentials.items()
        }
        change |= _store(own, keys, others)
        added.add(STORAGE_NAMESPACE)
    change |= SettingsChange(
        folders.list_resources(base, _with_files(change, base, added), present)
    )
    match own.ground.spec.follower:
        case Flux():
            applied = _flux_files(own.ground, present)
        case ArgoCd() as argocd:
            applied = _argocd_files(own.ground, argocd, present)
        case other:
            assert_never(other)
    return change | SettingsChange(applied)


def _refuse_filled_in(ground: PlatformFile) -> None:
    """Raise PipelineError where Argo CD follows the repository and driftloop keeps Secrets: Flux fills in that of
    Knative, and leaves a namespace alone that another object makes."""
    if ground.spec.follows == "argocd" and not isinstance(ground.spec.secrets, MadeByOthers):
        raise PipelineError(
            f"{ground.path}: {ground.layout.follower} follows the repository, and Secrets are kept as Flux needs them "
            f"(`secrets.type` is `{ground.spec.secrets.type}`)",
            hint="with `secrets: {type: others}` this writes the ConfigMap and the network policies, and says which Secrets "
            "must be there, key by key",
        )


def _name_home(ground: PlatformFile, namespace: str) -> dict[str, ObjectPart | str]:
    """Return the Namespace of a folder; with Argo CD it is the pipeline's alone."""
    match ground.spec.follows:
        case "flux":
            return {folders.NAMESPACE: folders.home(namespace, OWN_LABELS)}
        case "argocd":
            return {}
        case other:
            assert_never(other)


def _argocd_files(
    ground: PlatformFile, own: ArgoCd, present: Mapping[str, str]
) -> folders.TreeChange:
    """Return the Application that applies the settings. One that is there is a person's."""
    path = trees.platform_path(ground.cluster)
    if path in present:
        return folders.TreeChange()
    return folders.TreeChange({path: folders.text(build_settings_application(ground, own))})


def change_signing_key(own: SettingsFolder, namespace: str, key: SigningKey) -> SettingsChange:
    """Return the change by which a namespace signs with another key; those that it trusts stay
    trusted. PipelineError when the namespace has no settings."""
    path, text = _find_config(own, namespace)
    trusted = signing.add_key(key, text, namespace)
    config = core.ConfigMap.model_validate(load_mapping(text, path))
    data = {**config.data, contract.SIGNING_KEYS.key: signing.write_keys(trusted)}
    draft = signing.draft_key(namespace, key)
    objects: dict[str, ObjectPart | str] = {
        CONFIG: config.model_copy(update={"data": data}),
        **own.keep(namespace, draft),
    }
    return SettingsChange(folders.add(f"{own.base}/{namespace}", objects, own.present), (draft,))


def change_tracking(
    own: SettingsFolder, namespace: str, credential: Mapping[str, str]
) -> SettingsChange:
    """Return the change by which a namespace has another credential of its tracking server.
    PipelineError when the namespace has no settings."""
    _find_config(own, namespace)
    draft = draft_tracking(namespace, credential)
    objects = own.keep(namespace, draft)
    return SettingsChange(folders.add(f"{own.base}/{namespace}", objects, own.present), (draft,))


def settled(cluster: str, present: Mapping[str, str]) -> frozenset[str]:
    """Return the namespaces that have settings in the files that are there."""
    paths = (PurePosixPath(path) for path in present)
    base = trees.platform_folder(cluster)
    return frozenset(
        path.parent.name for path in paths if path.name == CONFIG and str(path.parents[1]) == base
    )


def config_path(cluster: str, namespace: str) -> str:
    """Return the path of a namespace's ConfigMap."""
    return f"{trees.platform_folder(cluster)}/{namespace}/{CONFIG}"


def _keep_console(addresses: Addresses, config: str | None, namespace: str) -> Addresses:
    """Return the addresses with the console's that a namespace has, unless another one is given."""
    if addresses.console_url or config is None:
        return addresses
    data = load_mapping(config, f"the ConfigMap of {namespace}").get("data") or {}
    return replace(addresses, console_url=str(data.get(contract.CONSOLE_URL.key) or ""))


def _draft_namespace(
    namespace: str, addresses: Addresses, given: PlatformCredentials
) -> tuple[SecretDraft, ...]:
    signs = () if given.signing_key is None else (signing.draft_key(namespace, given.signing_key),)
    return (
        draft_settings(namespace, addresses, given),
        draft_git(namespace, given),
        *signs,
    )


def _find_config(own: SettingsFolder, namespace: str) -> tuple[str, str]:
    path = config_path(own.ground.cluster, namespace)
    if path not in own.present:
        raise PipelineError(
            f"{own.ground.layout.place(path)} does not exist",
            hint=f"`driftloop secrets init -n {namespace} …` writes it",
        )
    return path, own.present[path]


def _nats_users(
    own: SettingsFolder, credentials: Mapping[str, PlatformCredentials]
) -> SettingsChange:
    """Users of the namespaces in NATS, and Knative's where it has none."""
    file = own.find_file(NATS_NAMESPACE, accounts.KNATIVE_SECRET)
    has_knative = accounts.KNATIVE_KEY in own.list_keys(NATS_NAMESPACE, accounts.SECRET_NAME)
    drafts: tuple[SecretDraft, ...] = ()
    objects: dict[str, ObjectPart | str] = {}
    knative = None
    if not has_knative or file not in own.present:
        knative = secrets.token_urlsafe(32)
        drafts = (accounts.draft_knative(knative),)
        objects |= own.keep(NATS_NAMESPACE, *drafts)
    users = accounts.draft_users({name: each.nats for name, each in credentials.items()}, knative)
    objects |= own.join(NATS_NAMESPACE, users)
    change = _add_shared(
        own, NATS_NAMESPACE, objects, (accounts.SECRET_NAME, accounts.KNATIVE_SECRET)
    )
    return SettingsChange(change, (*drafts, users))


def _store(
    own: SettingsFolder, keys: Mapping[str, identities.StoreKey], others: frozenset[str]
) -> SettingsChange:
    """Identities of the namespaces in the platform's own store, which starts again when they change."""
    draft = identities.draft_identities(keys, others)
    objects = own.join(STORAGE_NAMESPACE, draft)
    if objects and own.find_file(STORAGE_NAMESPACE, draft.name) in own.present:
        joined = folders.text(objects[own.name_file(draft.name)])
        objects[identities.RESTART_FILE] = identities.restart(joined)
    return SettingsChange(
        _add_shared(own, STORAGE_NAMESPACE, objects, (identities.SECRET_NAME,)), (draft,)
    )


def _add_shared(
    own: SettingsFolder, folder: str, objects: dict[str, ObjectPart | str], names: tuple[str, ...]
) -> folders.TreeChange:
    """Return the change to a folder of the platform's own; files of another keeper go."""
    path = f"{own.base}/{folder}"
    if objects and f"{path}/{folders.NAMESPACE}" not in own.present:
        objects = {**objects, folders.NAMESPACE: folders.home(folder, None)}
    stale = [
        file
        for name in names
        for suffix in SUFFIXES
        if suffix != own.keeper.suffix
        and f"{path}/{(file := f'{name}.{suffix}.yaml')}" in own.present
    ]
    if not objects and not stale:
        return folders.TreeChange()
    return folders.add(path, objects, own.present, without=stale)


def _with_files(change: SettingsChange, base: str, names: set[str]) -> list[str]:
    """Return the folders that have files: where others make Secrets, those of NATS and of the store have none."""
    return [
        name
        for name in names
        if any(path.startswith(f"{base}/{name}/") for path in change.change.files)
    ]


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


def _flux_files(ground: PlatformFile, present: Mapping[str, str]) -> folders.TreeChange:
    """Return the Flux object that applies the settings. One that is there is a person's; only how Flux opens Secrets
    follows the platform file."""
    path = trees.platform_path(ground.cluster)
    made = _flux(ground)
    if path not in present:
        return folders.TreeChange({path: folders.text(made)})
    document = load_mapping(present[path], path)
    spec = document.get("spec")
    if not isinstance(spec, dict):
        raise PipelineError(f"{ground.layout.place(path)}: `spec` is not a mapping")
    wanted = made.dump_object()["spec"]
    listed = spec.get("healthCheckExprs") or []
    checks = [each for each in listed if each.get("kind") != SEALED_KIND]
    checks = [*checks, *(wanted.get("healthCheckExprs") or [])]
    decryption = wanted.get("decryption")
    if (spec.get("decryption"), listed) == (decryption, checks):
        return folders.TreeChange()
    follows = ("decryption", "healthCheckExprs")
    kept = {key: value for key, value in spec.items() if key not in follows}
    added = {"decryption": decryption, "healthCheckExprs": checks}
    changed = {**kept, **{key: value for key, value in added.items() if value}}
    return folders.TreeChange({path: folders.note({**document, "spec": changed})})


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
            decryption=decrypt_by(ground.spec.secrets),
            depends_on=_list_first(ground) or None,
            health_check_exprs=judge_health(ground.spec.secrets),
        ),
    )
