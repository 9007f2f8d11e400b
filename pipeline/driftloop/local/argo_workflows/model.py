"""Models of Workflows, their templates and CronWorkflows, as the local runtime understands them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from driftloop.local.argo.parts import Duration, KeyRef, Number, Part, RepositoryRef, Text, Whole

GPUS = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/")
"""Prefixes of the names of extended resources that are GPUs."""


class ParameterSource(Part):
    """Source of an output parameter."""

    path: str | None = None
    parameter: str | None = None
    default: Text | None = None


class Parameter(Part):
    """A named string."""

    ACCEPTED = frozenset({"description"})
    name: str
    value: Text | None = None
    default: Text | None = None
    enum: list[Text] | None = None
    value_from: ParameterSource | None = None


class S3Key(Part):
    """An object or folder below the artifact repository."""

    key: str


class NoArchive(Part):
    """Plain files."""


class Archive(Part):
    """Packing of a folder, which is none."""

    none: NoArchive


class Artifact(Part):
    """A named file or folder in S3."""

    ACCEPTED = frozenset({"artifactGC", "deleted", "mode"})
    name: str
    path: str | None = None
    s3: S3Key | None = None
    archive: Archive | None = None
    from_: str | None = Field(default=None, alias="from")
    optional: bool = False


class Arguments(Part):
    """Arguments of a template."""

    parameters: list[Parameter] = Field(default_factory=list)
    artifacts: list[Artifact] = Field(default_factory=list)


class FieldRef(Part):
    """A fact about the pod."""

    ACCEPTED = frozenset({"apiVersion"})
    field_path: Literal[
        "metadata.name", "metadata.namespace", "metadata.uid", "spec.serviceAccountName"
    ]


class EnvSource(Part):
    """Source of an environment variable's value."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None


class Env(Part):
    """One environment variable."""

    name: str
    value: str = ""
    value_from: EnvSource | None = None


class Ref(Part):
    """A ConfigMap or Secret by name."""

    name: str
    optional: bool = False


class EnvFrom(Part):
    """All keys of a ConfigMap or Secret."""

    prefix: str = ""
    config_map_ref: Ref | None = None
    secret_ref: Ref | None = None


class VolumeMount(Part):
    """Path of a volume in a container."""

    ACCEPTED = frozenset({"readOnly"})
    name: str
    mount_path: str
    sub_path: str = ""


class EmptyDir(Part):
    """An empty folder; its size limit and medium have no effect on one machine."""

    ACCEPTED = frozenset({"medium", "sizeLimit"})


class Volume(Part):
    """An empty folder that lives as long as the pod."""

    name: str
    empty_dir: EmptyDir


class Asked(Part):
    """Resources of a container; only its GPUs matter here."""

    requests: dict[str, Text] = Field(default_factory=dict)
    limits: dict[str, Text] = Field(default_factory=dict)

    @property
    def gpus(self) -> Mapping[str, int]:
        """Number of each extended resource that is a GPU."""
        return {
            name: int(count)
            for name, count in self.limits.items()
            if name.startswith(GPUS) and count.isdigit() and int(count)
        }


class ContainerPort(Part):
    """A port that a container listens on; here a free one stands for it."""

    ACCEPTED = frozenset({"name", "protocol"})
    container_port: int = Field(ge=1, le=65535)


class Container(Part):
    """A step's process, or one beside it."""

    ACCEPTED = frozenset(
        {
            "imagePullPolicy",
            "securityContext",
            "terminationMessagePath",
            "terminationMessagePolicy",
        }
    )
    name: str = "main"
    image: str
    command: list[str] = Field(min_length=1)
    args: list[str] = Field(default_factory=list)
    env: list[Env] = Field(default_factory=list)
    env_from: list[EnvFrom] = Field(default_factory=list)
    working_dir: str | None = None
    volume_mounts: list[VolumeMount] = Field(default_factory=list)
    ports: list[ContainerPort] = Field(default_factory=list)
    resources: Asked = Asked()


class Hook(Part):
    """A template that runs when something ends."""

    template: str
    arguments: Arguments = Arguments()


class Hooks(Part):
    """Only `exit`: hooks with expressions watch a running workflow."""

    exit: Hook | None = None


class Task(Part):
    """One task of a DAG."""

    name: str
    template: str
    arguments: Arguments = Arguments()
    depends: str | None = None
    dependencies: list[str] | None = None
    when: str | None = None
    with_items: list[Any] | None = None
    with_param: str | None = None
    hooks: Hooks | None = None
    on_exit: str | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.depends is not None and self.dependencies is not None:
            raise ValueError(f"task `{self.name}` has both depends and dependencies")
        if self.with_items is not None and self.with_param is not None:
            raise ValueError(f"task `{self.name}` has both withItems and withParam")
        return self


class Dag(Part):
    """Tasks and what they wait for."""

    tasks: list[Task]


class Resource(Part):
    """Creates a Workflow."""

    ACCEPTED = frozenset({"setOwnerReference"})
    action: Literal["create"]
    manifest: str


class Backoff(Part):
    """Growing waits between retries."""

    duration: Duration = "0"
    factor: Number = "1"
    max_duration: Duration | None = None
    cap: Duration | None = None


class RetryStrategy(Part):
    """Retries of a failed pod; without a limit there is no last one.

    The default policy is OnFailure, or Always with an expression; both have to allow a retry.
    """

    ACCEPTED = frozenset({"affinity"})
    limit: Whole | None = None
    retry_policy: Literal["Always", "OnFailure", "OnError"] | None = None
    backoff: Backoff | None = None
    expression: str | None = None
    """Over `lastRetry.exitCode`, `.status`, `.duration` (seconds) and `.message`, all of them
    strings."""


class Mutex(Part):
    """A name only one holder may have at a time."""

    name: str
    namespace: str | None = None


class Synchronization(Part):
    """Mutexes; semaphores are refused."""

    mutexes: list[Mutex] = Field(default_factory=list)


class Template(Part):
    """One template: a container, a DAG, or the creation of a Workflow."""

    ACCEPTED = frozenset(
        {
            "affinity",
            "archiveLocation",
            "automountServiceAccountToken",
            "executor",
            "metadata",
            "metrics",
            "memoize",
            "nodeSelector",
            "podSpecPatch",
            "priorityClassName",
            "schedulerName",
            "securityContext",
            "serviceAccountName",
            "tolerations",
            "annotations",
        }
    )
    name: str
    inputs: Arguments = Arguments()
    outputs: Arguments = Arguments()
    container: Container | None = None
    sidecars: list[Container] = Field(default_factory=list)
    """Processes beside the container's, ended when it has ended."""
    dag: Dag | None = None
    resource: Resource | None = None
    retry_strategy: RetryStrategy | None = None
    active_deadline_seconds: Text | None = None
    timeout: str | None = None
    volumes: list[Volume] = Field(default_factory=list)
    parallelism: int | None = Field(default=None, ge=1)
    synchronization: Synchronization | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [
            kind for kind in ("container", "dag", "resource") if getattr(self, kind) is not None
        ]
        if len(kinds) != 1:
            raise ValueError(
                f"template `{self.name}` must have exactly one of container, dag, resource"
            )
        self._check_sidecars()
        if self.dag is not None and (
            self.timeout is not None or self.active_deadline_seconds is not None
        ):
            raise ValueError(
                f"template `{self.name}`: a dag can't have a timeout or activeDeadlineSeconds"
            )
        return self

    def _check_sidecars(self) -> None:
        names = [sidecar.name for sidecar in self.sidecars]
        if names and self.container is None:
            raise ValueError(f"template `{self.name}` has sidecars, but no container")
        for name in names:
            if name in ("main", "wait", "init") or names.count(name) > 1:
                raise ValueError(
                    f"template `{self.name}`: a sidecar is named `{name}`, must be a name of its own"
                )

    @property
    def gpus(self) -> Mapping[str, int]:
        """Number of each extended resource that is a GPU, in all containers."""
        total: Counter[str] = Counter()
        for container in (*([self.container] if self.container else []), *self.sidecars):
            total.update(container.resources.gpus)
        return total


class TemplateRef(Part):
    """A WorkflowTemplate of the same namespace."""

    name: str


class LabelValueFrom(Part):
    """An expression that gives a label's value."""

    expression: str


class WorkflowMetadata(Part):
    """Labels and annotations every run gets."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    labels_from: dict[str, LabelValueFrom] = Field(default_factory=dict)
    """Over the workflow's parameters: `workflow.parameters.release`."""


class TTLStrategy(Part):
    """Seconds after its end until a Workflow is deleted; the first two win over the third."""

    seconds_after_success: int | None = Field(default=None, ge=0)
    seconds_after_failure: int | None = Field(default=None, ge=0)
    seconds_after_completion: int | None = Field(default=None, ge=0)


class WorkflowSpec(Part):
    """The spec of a Workflow or WorkflowTemplate."""

    ACCEPTED = frozenset(
        {
            "affinity",
            "archiveLogs",
            "artifactGC",
            "automountServiceAccountToken",
            "dnsPolicy",
            "executor",
            "imagePullSecrets",
            "metrics",
            "nodeSelector",
            "podDisruptionBudget",
            "podGC",
            "podMetadata",
            "podPriorityClassName",
            "priority",
            "schedulerName",
            "securityContext",
            "tolerations",
            "volumeClaimGC",
        }
    )
    entrypoint: str | None = None
    arguments: Arguments = Arguments()
    templates: list[Template] = Field(default_factory=list)
    workflow_template_ref: TemplateRef | None = None
    service_account_name: str = "default"
    on_exit: str | None = None
    hooks: Hooks | None = None
    volumes: list[Volume] = Field(default_factory=list)
    parallelism: int | None = Field(default=None, ge=1)
    active_deadline_seconds: int | None = None
    synchronization: Synchronization | None = None
    artifact_repository_ref: RepositoryRef | None = None
    workflow_metadata: WorkflowMetadata = WorkflowMetadata()
    suspend: Literal[False] = False
    shutdown: Literal["Stop"] | None = None
    ttl_strategy: TTLStrategy | None = None


class CronSpec(Part):
    """The spec of a CronWorkflow; times in seconds."""

    ACCEPTED = frozenset({"successfulJobsHistoryLimit", "failedJobsHistoryLimit"})
    schedules: list[str] = Field(min_length=1)
    timezone: str = "UTC"
    suspend: bool = False
    concurrency_policy: Literal["Allow", "Forbid"] = "Allow"
    starting_deadline_seconds: int = 0
    workflow_metadata: WorkflowMetadata = WorkflowMetadata()
    workflow_spec: dict[str, Any]
