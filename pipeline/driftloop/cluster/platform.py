"""`driftloop-platform` on a cluster: the ConfigMap in clear, the Secret sealed, the way to addresses of
the user's own, and what makes Flux apply them."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from driftloop.cluster import network, text
from driftloop.contract.names import LOGS, PLATFORM
from driftloop.errors import PipelineError
from driftloop.kube import core, flux, kustomize
from driftloop.kube.base import Model, ObjectMeta, Reference
from driftloop.kube.sealed import PlainSecret, Scope, SealedSecret

STORE = "storage"
STORE_SECRET = "seaweedfs-s3-config"  # noqa: S105 (a name)
NOTE = "# Written by `driftloop secrets init`; run it again with --force to make new ones.\n"
# exists(), not all(): all() over no conditions is true and would fail a fresh one
_SYNCED = "has(status.conditions) && status.conditions.exists(c, c.type == 'Synced' && c.status == '{}')"
_LABELS = {"app.kubernetes.io/managed-by": "driftloop"}


@dataclass(frozen=True)
class Addresses:
    """Where the parts of a cluster are; the defaults are those of cluster/infrastructure."""

    git_url: str
    git_branch: str = "main"
    s3_endpoint: str = "http://seaweedfs-s3.storage.svc.cluster.local:8333"
    s3_region: str = "us-east-1"
    s3_bucket: str = "driftloop"
    nats_url: str = "nats://nats.nats-io.svc.cluster.local:4222"
    kubernetes_url: str = "https://kubernetes.default.svc"
    gateway_url: str = "http://istio-ingressgateway.istio-system.svc.cluster.local"

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
                    f"{name.replace('_', '-')} holds a password; it would stand in git in clear",
                    hint="credentials come from the environment (see --help)",
                )

    @property
    def parts(self) -> dict[str, str]:
        """What pods of a pipeline call, by the names that NetworkPolicies have for it."""
        return {"s3": self.s3_endpoint, "nats": self.nats_url, "git": self.git_url, "kubernetes": self.kubernetes_url}


OWN = Addresses(git_url="https://git.invalid/").parts
"""The addresses of cluster/infrastructure, which the rendered NetworkPolicies open; git is never among them."""


@dataclass(frozen=True)
class Credentials:
    """What gets sealed. The webhook token is made at random unless given."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    git_username: str = field(default="", repr=False)
    git_password: str = field(default="", repr=False)
    webhook_token: str = field(default_factory=lambda: secrets.token_urlsafe(36), repr=False)


def config_map(namespace: str, addresses: Addresses) -> core.ConfigMap:
    """The addresses, and Argo's artifact repository made from them."""
    endpoint = urlsplit(addresses.s3_endpoint)
    repository = {
        "s3": {
            "endpoint": endpoint.netloc,  # Argo wants no scheme
            "insecure": endpoint.scheme == "http",
            "bucket": addresses.s3_bucket,
            "region": addresses.s3_region,
            "createBucketIfNotPresent": {},
            "keyFormat": LOGS,
            "accessKeySecret": {"name": PLATFORM, "key": "accesskey"},
            "secretKeySecret": {"name": PLATFORM, "key": "secretkey"},
        }
    }
    return core.ConfigMap(
        metadata=ObjectMeta(name=PLATFORM, namespace=namespace, labels=_LABELS),
        data={
            "s3-endpoint": addresses.s3_endpoint,
            "s3-region": addresses.s3_region,
            "s3-bucket": addresses.s3_bucket,
            "nats-url": addresses.nats_url,
            "git-url": addresses.git_url,
            "git-branch": addresses.git_branch,
            "kubernetes-url": addresses.kubernetes_url,
            "gateway-url": addresses.gateway_url,
            "artifact-repository": text.dump(repository),
        },
    )


def secret(namespace: str, addresses: Addresses, credentials: Credentials) -> PlainSecret:
    """The one Secret of a pipeline's namespace: the same keys in the spellings of boto3, Argo and Seldon's rclone."""
    values = {
        "accesskey": credentials.access_key,
        "secretkey": credentials.secret_key,
        "webhook-token": credentials.webhook_token,
        "git-username": credentials.git_username,
        "git-password": credentials.git_password,
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Other",
        "RCLONE_CONFIG_S3_ENV_AUTH": "false",
        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": credentials.access_key,
        "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": credentials.secret_key,
        "RCLONE_CONFIG_S3_ENDPOINT": addresses.s3_endpoint,
    }
    return PlainSecret(
        metadata=ObjectMeta(name=PLATFORM, namespace=namespace, labels=_LABELS),
        values={key: value.encode() for key, value in values.items()},
    )


def store_secret(credentials: Credentials) -> PlainSecret:
    """The identities of the SeaweedFS that comes with the platform; without it the store is open to everyone."""
    identity = {
        "name": "driftloop",
        "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return PlainSecret(
        metadata=ObjectMeta(name=STORE_SECRET, namespace=STORE, labels=_LABELS),
        values={"seaweedfs_s3_config": json.dumps({"identities": [identity]}).encode()},
    )


def tree(
    cluster: str,
    namespaces: tuple[str, ...],
    addresses: Addresses,
    credentials: Credentials,
    seal: Callable[[PlainSecret, Scope], SealedSecret],
    *,
    own_store: bool,
) -> dict[str, str]:
    """Path -> text: a folder per namespace below cluster/platform/<cluster>, and the Flux object that applies them."""
    files: dict[str, str] = {}
    base = f"cluster/platform/{cluster}"
    for namespace in namespaces:
        opened = network.policies(namespace, addresses.parts, OWN)
        files |= _folder(
            f"{base}/{namespace}",
            namespace,
            {
                f"{PLATFORM}.configmap.yaml": config_map(namespace, addresses),
                f"{PLATFORM}.sealedsecret.yaml": seal(secret(namespace, addresses, credentials), Scope.STRICT),
                **{f"{name}.networkpolicy.yaml": policy for name, policy in opened.items()},
            },
        )
    if own_store:
        files |= _folder(
            f"{base}/{STORE}",
            STORE,
            {f"{STORE_SECRET}.sealedsecret.yaml": seal(store_secret(credentials), Scope.STRICT)},
        )
    folders = (*namespaces, STORE) if own_store else namespaces
    files[f"{base}/kustomization.yaml"] = _text(kustomize.Kustomization(resources=tuple(sorted(folders))))
    files[f"cluster/{cluster}/platform.yaml"] = _text(
        flux.Kustomization(
            metadata=ObjectMeta(name="platform", namespace="flux-system"),
            spec=flux.KustomizationSpec(
                interval="10m",
                retry_interval="1m",
                timeout="5m",
                path=f"./{base}",
                prune=True,
                wait=True,
                source_ref=Reference(kind="GitRepository", name="flux-system"),
                depends_on=(flux.Dependency(name="infra-base"),),
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


def _folder(path: str, namespace: str, objects: dict[str, Model]) -> dict[str, str]:
    # the pipeline's own Kustomization owns the namespace; here it is only made when nothing else has made it yet
    home = core.Namespace(
        metadata=ObjectMeta(
            name=namespace,
            labels=_LABELS if namespace != STORE else None,
            annotations={
                "kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent",
                "kustomize.toolkit.fluxcd.io/prune": "disabled",
            },
        )
    )
    files = {"namespace.yaml": home, **objects}
    files["kustomization.yaml"] = kustomize.Kustomization(resources=tuple(sorted(files)))
    return {f"{path}/{name}": _text(model) for name, model in files.items()}


def _text(model: Model) -> str:
    return NOTE + text.dump(model.dump())
