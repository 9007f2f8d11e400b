"""`driftloop-platform` on a cluster: the ConfigMap in clear, the Secret sealed, the way to
addresses of the user's own, and what makes Flux apply them."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from driftloop.cluster import network, text
from driftloop.contract import platform as contract
from driftloop.contract import trees
from driftloop.contract.names import (
    FLUX_APPLIED_ONCE,
    FLUX_BASE,
    FLUX_NAMESPACE,
    FLUX_SOURCE,
    GATEWAY_URL,
    NATS_URL,
    OWN_LABELS,
    PLATFORM,
    STORAGE_NAMESPACE,
    STORAGE_URL,
)
from driftloop.errors import PipelineError
from driftloop.kube import core, flux, kustomize
from driftloop.kube.base import ObjectMeta, ObjectPart, ObjectReference
from driftloop.kube.sealed import PlainSecret, Scope, SealedSecret

STORE_SECRET = "seaweedfs-s3-config"  # noqa: S105 (a name)
NOTE = "# Written by `driftloop secrets init`; run it again with --force to make new ones.\n"
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
    s3_bucket: str = contract.S3_BUCKET.example
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
class PlatformCredentials:
    """Credentials to seal. The webhook token is random unless given."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    git_username: str = field(default="", repr=False)
    git_password: str = field(default="", repr=False)
    webhook_token: str = field(default_factory=lambda: secrets.token_urlsafe(36), repr=False)


def config_map(namespace: str, addresses: Addresses) -> core.ConfigMap:
    """The addresses, and Argo's artifact repository made from them."""
    endpoint = urlsplit(addresses.s3_endpoint)
    repository = contract.artifact_repository(
        endpoint.netloc,
        insecure=endpoint.scheme == "http",
        bucket=addresses.s3_bucket,
        region=addresses.s3_region,
        create_bucket=True,
    )
    return core.ConfigMap(
        metadata=ObjectMeta(name=PLATFORM, namespace=namespace, labels=OWN_LABELS),
        data={
            contract.S3_ENDPOINT.key: addresses.s3_endpoint,
            contract.S3_REGION.key: addresses.s3_region,
            contract.S3_BUCKET.key: addresses.s3_bucket,
            contract.NATS.key: addresses.nats_url,
            contract.GIT_URL.key: addresses.git_url,
            contract.GIT_BRANCH.key: addresses.git_branch,
            contract.KUBERNETES_URL.key: addresses.kubernetes_url,
            contract.GATEWAY.key: addresses.gateway_url,
            contract.ARTIFACT_REPOSITORY.key: text.dump(repository),
        },
    )


def secret(namespace: str, addresses: Addresses, credentials: PlatformCredentials) -> PlainSecret:
    """The one Secret of a pipeline's namespace: the same keys in the spellings of boto3, Argo
    and Seldon's rclone."""
    values = {
        contract.ACCESS_KEY.key: credentials.access_key,
        contract.SECRET_KEY.key: credentials.secret_key,
        contract.WEBHOOK_TOKEN.key: credentials.webhook_token,
        contract.GIT_USERNAME.key: credentials.git_username,
        contract.GIT_PASSWORD.key: credentials.git_password,
        **contract.rclone_settings(
            addresses.s3_endpoint, credentials.access_key, credentials.secret_key
        ),
    }
    return PlainSecret(
        metadata=ObjectMeta(name=PLATFORM, namespace=namespace, labels=OWN_LABELS),
        values={key: value.encode() for key, value in values.items()},
    )


def store_secret(credentials: PlatformCredentials) -> PlainSecret:
    """The identities of the SeaweedFS that comes with the platform; without it the store is open
    to everyone."""
    identity = {
        "name": "driftloop",
        "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return PlainSecret(
        metadata=ObjectMeta(name=STORE_SECRET, namespace=STORAGE_NAMESPACE, labels=OWN_LABELS),
        values={"seaweedfs_s3_config": json.dumps({"identities": [identity]}).encode()},
    )


def tree(
    cluster: str,
    namespaces: tuple[str, ...],
    addresses: Addresses,
    credentials: PlatformCredentials,
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    *,
    own_store: bool,
) -> dict[str, str]:
    """Path -> text: a folder per namespace below cluster/platform/<cluster>, and the Flux object
    that applies them."""
    files: dict[str, str] = {}
    base = trees.platform_folder(cluster)
    for namespace in namespaces:
        opened = network.policies(namespace, addresses.parts, OWN)
        files |= _folder(
            f"{base}/{namespace}",
            namespace,
            {
                f"{PLATFORM}.configmap.yaml": config_map(namespace, addresses),
                f"{PLATFORM}.sealedsecret.yaml": seal(
                    secret(namespace, addresses, credentials), Scope.STRICT
                ),
                **{f"{name}.networkpolicy.yaml": policy for name, policy in opened.items()},
            },
        )
    if own_store:
        files |= _folder(
            f"{base}/{STORAGE_NAMESPACE}",
            STORAGE_NAMESPACE,
            {f"{STORE_SECRET}.sealedsecret.yaml": seal(store_secret(credentials), Scope.STRICT)},
        )
    folders = (*namespaces, STORAGE_NAMESPACE) if own_store else namespaces
    files[f"{base}/{trees.KUSTOMIZATION}"] = _text(
        kustomize.KustomizationFile(resources=tuple(sorted(folders)))
    )
    files[trees.platform_path(cluster)] = _text(
        flux.Kustomization(
            metadata=ObjectMeta(name="platform", namespace=FLUX_NAMESPACE),
            spec=flux.KustomizationSpec(
                interval="10m",
                retry_interval="1m",
                timeout="5m",
                path=f"./{base}",
                prune=True,
                wait=True,
                source_ref=ObjectReference(kind="GitRepository", name=FLUX_SOURCE),
                depends_on=(
                    flux.KustomizationDependency(name=FLUX_BASE, ready_expr=FLUX_APPLIED_ONCE),
                ),
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
    )
    return files


def _folder(path: str, namespace: str, objects: dict[str, ObjectPart]) -> dict[str, str]:
    # the pipeline's own Kustomization owns the namespace; here it is only made when nothing else has made it yet
    home = core.Namespace(
        metadata=ObjectMeta(
            name=namespace,
            labels=OWN_LABELS if namespace != STORAGE_NAMESPACE else None,
            annotations={
                "kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent",
                "kustomize.toolkit.fluxcd.io/prune": "disabled",
            },
        )
    )
    files = {"namespace.yaml": home, **objects}
    files[trees.KUSTOMIZATION] = kustomize.KustomizationFile(resources=tuple(sorted(files)))
    return {f"{path}/{name}": _text(model) for name, model in files.items()}


def _text(model: ObjectPart) -> str:
    return NOTE + text.dump(model.dump_object())
