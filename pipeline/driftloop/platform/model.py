"""Models of a platform file. Every default is what the infrastructure of this repository has."""

from typing import Annotated, Literal, assert_never

from pydantic import Field

from driftloop.contract.layout import FollowerKind
from driftloop.contract.names import (
    FLUX_CONFIGS,
    FLUX_NAMESPACE,
    FLUX_SOURCE,
    GATEWAY,
    GATEWAY_LABELS,
    GATEWAY_URL,
    ISTIO_NAMESPACE,
    STORAGE_URL,
)
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.notices import Notifications
from driftloop.platform.retention import ClusterRetention
from driftloop.platform.secrets import SealedSecrets, SecretKind
from driftloop.platform.values import (
    BranchName,
    BucketName,
    ClusterName,
    Host,
    ImagePrefix,
    ObjectName,
    RepositoryFolder,
)
from driftloop.spec.base import SpecModel
from driftloop.spec.values import LabelName, LabelValue, NamespaceName, SecretName, ServerUrl

_GATEWAY_NAMESPACE, _, _GATEWAY_NAME = GATEWAY.partition("/")


class SourceRef(SpecModel):
    """Source that Flux fetches the cluster repository by."""

    kind: Literal["GitRepository"] = "GitRepository"
    """Kind of the source; the revision of a `GitRepository` is a commit, by which a rollout sees what is applied."""
    name: ObjectName = FLUX_SOURCE
    """Name of the source; `flux bootstrap` calls it `flux-system`."""
    namespace: NamespaceName | None = None
    """Namespace of the source; that of the Kustomizations when left out."""


class Dependency(SpecModel):
    """A Flux Kustomization that comes first."""

    name: ObjectName
    """Name of the Kustomization."""
    namespace: NamespaceName | None = None
    """Namespace of it; that of the pipelines' Kustomizations when left out."""


class Flux(SpecModel):
    """Flux objects of the pipelines."""

    namespace: NamespaceName = FLUX_NAMESPACE
    """Namespace of the pipelines' Flux Kustomizations, and of the accounts by which they are applied."""
    source_ref: SourceRef = SourceRef()
    """Source of the cluster repository."""
    depends_on: Annotated[tuple[Dependency, ...], Field(max_length=20)] = (
        Dependency(name=FLUX_CONFIGS),
    )
    """Flux Kustomizations that are applied once before the first tree of a pipeline: what installs Argo, Knative, NATS
    and Istio. An empty list waits for none."""
    service_account_name: ObjectName | None = None
    """Account of `namespace` by which Flux applies pipelines and their settings, as a platform team gives one to a
    tenant: its Role must hold what a pipeline's own would. When left out each pipeline has an account of its own, with
    no more rights than its kinds of objects need."""


class Images(SpecModel):
    """Registries that the cluster pulls images from."""

    registry: ImagePrefix | None = None
    """Registry, and folders in it, that hold copies of driftloop's images and of those of others that it runs, each by
    the last part of its name: with `registry.acme.example/platform`, `ghcr.io/driftloop/monitor` is pulled as
    `registry.acme.example/platform/monitor`. Images of specs are left as they are."""
    mirrors: Annotated[dict[ImagePrefix, ImagePrefix], Field(max_length=50)] = Field(
        default_factory=dict
    )
    """Start of image references to what is pulled in its place, for images of specs, too; the longest start that fits
    is taken, before `registry`. `driftloop platform upgrade` tells them to the platform's charts and manifests, and
    `driftloop platform images --push` copies what is pulled."""
    pull_secrets: Annotated[tuple[SecretName, ...], Field(max_length=10)] = ()
    """Secrets (`kubernetes.io/dockerconfigjson`) in each pipeline's namespace that its pods pull images with, besides
    those of its spec."""


class ObjectStore(SpecModel):
    """Object store of runs and models."""

    endpoint: ServerUrl = STORAGE_URL
    """Address of the object store; `driftloop secrets init` takes it from here."""
    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] = (
        "us-east-1"
    )
    """Region of the object store."""
    bucket: BucketName = "driftloop"
    """Bucket of runs and models."""
    credentials: Literal["keys", "workload-identity"] = "keys"
    """Credentials of pods: `keys` are an access key and a secret key in the Secret `driftloop-platform`; with
    `workload-identity` pods have none, and the cloud gives their service accounts a role."""
    service_account_annotations: Annotated[dict[LabelName, str], Field(max_length=20)] = Field(
        default_factory=dict
    )
    """Annotations of the service accounts whose pods use the object store, such as `eks.amazonaws.com/role-arn`; with
    `workload-identity` only."""


class IngressPods(SpecModel):
    """Pods of the ingress gateway, whom network policies let in."""

    namespace: NamespaceName = ISTIO_NAMESPACE
    """Namespace of the gateway's pods."""
    labels: Annotated[dict[LabelName, LabelValue], Field(min_length=1, max_length=10)] = Field(
        default_factory=lambda: dict(GATEWAY_LABELS)
    )
    """Labels of the gateway's pods."""
    service_account: ObjectName = "istio-ingressgateway"
    """ServiceAccount of the gateway's pods, by which a mesh knows them."""


class Gateway(SpecModel):
    """Istio's Gateway that predictions come in by."""

    name: ObjectName = _GATEWAY_NAME
    """Name of the Gateway."""
    namespace: NamespaceName = _GATEWAY_NAMESPACE
    """Namespace of the Gateway."""
    host: Host | None = None
    """Host name of the models' routes; every host of the Gateway when left out."""
    url: ServerUrl = GATEWAY_URL
    """Address of the gateway inside the cluster; `driftloop secrets init` takes it from here."""
    pods: IngressPods = IngressPods()
    """Pods behind the Gateway."""

    @property
    def ref(self) -> str:
        """The Gateway as a VirtualService names it."""
        return f"{self.namespace}/{self.name}"

    @property
    def hosts(self) -> str:
        """Host of a route: all of the Gateway's, or the one that is named."""
        return self.host or "*"


class PlatformSpec(SpecModel):
    """One cluster, as the pipelines on it see it."""

    path: RepositoryFolder
    """Folder of the repository that Flux or Argo CD reads for this cluster, such as `clusters/prod`; its objects of
    pipelines go into `pipelines/` and `access/` below it."""
    branch: BranchName = "main"
    """Branch that Flux or Argo CD follows."""
    follows: FollowerKind = "flux"
    """What follows the repository and applies it: `flux`, by Kustomizations, or `argocd`, by Applications."""
    flux: Flux = Flux()
    """Source and order of what Flux applies."""
    argocd: ArgoCd | None = None
    """Argo CD, and what it knows the repository by; with `follows: argocd`, and with it only."""
    images: Images = Images()
    """Registries and pull secrets."""
    object_store: ObjectStore = ObjectStore()
    """Object store of runs and models."""
    secrets: SecretKind = SealedSecrets()
    """Who makes Secrets, and what of them stands in git."""
    gateway: Gateway = Gateway()
    """Door of the predictions."""
    retention: ClusterRetention | None = None
    """How long pipelines keep what; as their specs say when left out."""
    notifications: Notifications = Notifications()
    """People who are told of what goes wrong."""

    @property
    def follower(self) -> Flux | ArgoCd:
        """What applies the repository, as the file has it. Each place that makes objects of one or reads them matches
        on it."""
        match self.follows:
            case "flux":
                return self.flux
            case "argocd":
                if self.argocd is None:
                    raise ValueError("a platform file with `follows: argocd` is read with `argocd`")
                return self.argocd
            case _:
                assert_never(self.follows)


class PlatformMetadata(SpecModel):
    """The cluster's name."""

    name: ClusterName
    """Name of the cluster, as `--cluster` takes it."""


class Platform(SpecModel):
    """A platform file: `apiVersion`, `kind`, `metadata`, `spec`."""

    api_version: Literal["driftloop.dev/v1alpha1"]
    """The version of this format."""
    kind: Literal["Platform"]
    """Kind of the document."""
    metadata: PlatformMetadata
    """Name of the cluster."""
    spec: PlatformSpec
    """The cluster itself."""
