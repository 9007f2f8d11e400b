"""v1: the small part of the core API that we emit."""

from typing import Annotated, Any, Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, ObjectPart, Protocol


class Namespace(KubernetesObject):
    """A home for a pipeline's objects."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["Namespace"] = "Namespace"


class LocalReference(ObjectPart):
    """An object of the same namespace."""

    name: str


class ServiceAccount(KubernetesObject):
    """Identity of a pod, and what its images are pulled with."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["ServiceAccount"] = "ServiceAccount"
    image_pull_secrets: tuple[LocalReference, ...] | None = None
    automount_service_account_token: bool | None = None


class TokenSecret(KubernetesObject):
    """The token of a ServiceAccount, which Kubernetes writes into it; nothing secret is said here."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["Secret"] = "Secret"
    type: Literal["kubernetes.io/service-account-token"] = "kubernetes.io/service-account-token"


class ConfigMap(KubernetesObject):
    """Named texts."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["ConfigMap"] = "ConfigMap"
    data: dict[str, str]


class ServicePort(ObjectPart):
    """A port of a Service and the pod port behind it."""

    name: str
    port: int
    target_port: int | str | None = None
    protocol: Protocol | None = None


class ServiceSpec(ObjectPart):
    """Selector and ports of a Service."""

    selector: dict[str, str]
    ports: tuple[ServicePort, ...]
    cluster_ip: Annotated[Literal["None"] | None, Field(alias="clusterIP")] = None
    """`None`, the word: the name is that of each pod, not of one address before all of them."""
    publish_not_ready_addresses: bool | None = None
    """True: pods that are not ready, or end, have their address there, too."""


class KubernetesService(KubernetesObject):
    """A name for the pods with certain labels."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["Service"] = "Service"
    spec: ServiceSpec


class KeySelector(ObjectPart):
    """One key of a ConfigMap or Secret."""

    name: str
    key: str


class OptionalKeySelector(KeySelector):
    """One key of a ConfigMap or Secret that a pod may start without."""

    optional: bool | None = None


class EnvVarSource(ObjectPart):
    """Source of a variable's value; exactly one field is set."""

    config_map_key_ref: OptionalKeySelector | None = None
    secret_key_ref: OptionalKeySelector | None = None


class EnvVar(ObjectPart):
    """An environment variable, by value or by reference."""

    name: str
    value: str | None = None
    value_from: EnvVarSource | None = None


class EnvFromSource(ObjectPart):
    """A ConfigMap or Secret of which every key is a variable; exactly one field is set."""

    config_map_ref: LocalReference | None = None
    secret_ref: LocalReference | None = None


class ContainerResources(ObjectPart):
    """Requests and limits, as quantities."""

    requests: dict[str, str] | None = None
    limits: dict[str, str] | None = None


class Capabilities(ObjectPart):
    """Linux capabilities given and taken away."""

    add: tuple[str, ...] | None = None
    drop: tuple[str, ...]


class SeccompProfile(ObjectPart):
    """System call filter."""

    type: Literal["RuntimeDefault", "Localhost"] = "RuntimeDefault"
    localhost_profile: str | None = None


class SecurityContext(ObjectPart):
    """Privileges of a container; ours satisfy the restricted Pod Security Standard."""

    allow_privilege_escalation: bool | None = None
    run_as_non_root: bool | None = None
    run_as_group: int | None = None
    read_only_root_filesystem: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: SeccompProfile | None = None


class PodSecurityContext(ObjectPart):
    """User and groups of a pod's processes."""

    run_as_non_root: bool
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] | None = None
    seccomp_profile: SeccompProfile


class ContainerPort(ObjectPart):
    """A port a container listens on."""

    name: str
    container_port: int
    protocol: Protocol | None = None


class HTTPGet(ObjectPart):
    """Answers 2xx or 3xx when all is well."""

    path: str
    port: int | str


class TCPSocket(ObjectPart):
    """Accepts a connection when all is well."""

    port: int | str


class Probe(ObjectPart):
    """Asked again and again by the kubelet; times in seconds."""

    http_get: HTTPGet | None = None
    tcp_socket: TCPSocket | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    timeout_seconds: int | None = None
    failure_threshold: int | None = None
    termination_grace_period_seconds: int | None = None
    """Until a container that failed a liveness probe is killed; the pod's when left out."""


class Sleep(ObjectPart):
    """Nothing, for so many seconds; needs no program in the image."""

    seconds: int


class Handler(ObjectPart):
    """Action of the kubelet at a moment of a container's life."""

    sleep: Sleep


class Lifecycle(ObjectPart):
    """`pre_stop` comes before the signal to end, and counts against the pod's grace period."""

    pre_stop: Handler


class VolumeMount(ObjectPart):
    """A volume in a container."""

    name: str
    mount_path: str
    sub_path: str | None = None
    read_only: bool | None = None


class EmptyDir(ObjectPart):
    """An empty folder that lives as long as the pod."""

    medium: Literal["Memory"] | None = None
    size_limit: str | None = None


class ConfigMapVolume(ObjectPart):
    """A ConfigMap's keys as files."""

    name: str


class SecretVolume(ObjectPart):
    """A Secret's keys as files."""

    secret_name: str


class ClaimVolume(ObjectPart):
    """The folder behind a PersistentVolumeClaim."""

    claim_name: str


class Volume(ObjectPart):
    """A folder of a pod; exactly one source is set."""

    name: str
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None


class Container(ObjectPart):
    """One program of a pod; command and args are always spelled out."""

    name: str
    image: str | None = None
    """None where Seldon's operator fills it in."""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFromSource, ...] | None = None
    ports: tuple[ContainerPort, ...] | None = None
    resources: ContainerResources | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_policy: Literal["FallbackToLogsOnError"] | None = None
    """Set, the end of a failed container's log is in the pod's status."""
    security_context: SecurityContext | None = None


class Toleration(ObjectPart):
    """A taint of nodes that does not keep the pod away."""

    key: str | None = None
    operator: str = "Exists"
    value: str | None = None
    effect: str | None = "NoSchedule"
    toleration_seconds: int | None = None


class PodSpec(ObjectPart):
    """A pod."""

    node_selector: dict[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    affinity: dict[str, Any] | None = None
    """As a spec has it, in the words of the API."""
    priority_class_name: str | None = None
    runtime_class_name: str | None = None
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    enable_service_links: bool | None = None
    security_context: PodSecurityContext | None = None
    init_containers: tuple[Container, ...] | None = None
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...] | None = None
    termination_grace_period_seconds: int | None = None


class TemplateMeta(ObjectPart):
    """Labels and annotations of the pods made from a template."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class PodTemplate(ObjectPart):
    """Template of each replica."""

    metadata: TemplateMeta
    spec: PodSpec
