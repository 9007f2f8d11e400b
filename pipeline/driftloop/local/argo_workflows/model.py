"""Models of Workflows, their templates and CronWorkflows, as the local runtime understands them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from driftloop.local.argo.parts import Duration, KeyRef, Number, Part, RepositoryRef, Text, Whole

GPUS = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/")
"""Prefixes of the names of extended resources that are GPUs."""


class Parameter(Part):
    """A named string."""

    ACCEPTED = frozenset({"description"})
    name: str
    value: Text | None = None


class InputParameter(Part):
    """A named string that a template gets from its caller."""

    name: str


class Supplied(Part):
    """A value that a person gives."""


class OutputSource(Part):
    """A file that holds an output parameter, or a person who gives it."""

    path: str = ""
    supplied: Supplied | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.path) == (self.supplied is not None):
            raise ValueError("`valueFrom` must have exactly one of path, supplied")
        return self


class OutputParameter(Part):
    """A named string that a container leaves, or a person supplies."""

    name: str
    value_from: OutputSource


class S3Key(Part):
    """An object or folder below the artifact repository."""

    key: str


class NoArchive(Part):
    """Plain files."""


class Archive(Part):
    """Packing of a folder, which is none."""

    none: NoArchive


class InputArtifact(Part):
    """A file or folder that a container gets: from its caller, or from S3."""

    name: str
    path: str
    s3: S3Key | None = None
    optional: bool = False


class OutputArtifact(Part):
    """A file or folder that a container leaves in S3."""

    name: str
    path: str
    s3: S3Key
    archive: Archive
    optional: bool = False


class ArtifactArgument(Part):
    """An output of another task as an input."""

    name: str
    from_: str = Field(alias="from")


class Inputs(Part):
    """Inputs of a template."""

    parameters: list[InputParameter] = Field(default_factory=list)
    artifacts: list[InputArtifact] = Field(default_factory=list)


class OutputParts(Part):
    """Outputs of a container's template, or of a suspended one."""

    parameters: list[OutputParameter] = Field(default_factory=list)
    artifacts: list[OutputArtifact] = Field(default_factory=list)


class Arguments(Part):
    """Arguments of a task."""

    parameters: list[Parameter] = Field(default_factory=list)
    artifacts: list[ArtifactArgument] = Field(default_factory=list)


class WorkflowArguments(Part):
    """Arguments of a Workflow."""

    parameters: list[Parameter] = Field(default_factory=list)


class EnvSource(Part):
    """Source of an environment variable's value."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config_map_key_ref is None) == (self.secret_key_ref is None):
            raise ValueError("`valueFrom` must have exactly one of configMapKeyRef, secretKeyRef")
        return self


class Env(Part):
    """One environment variable."""

    name: str
    value: str = ""
    value_from: EnvSource | None = None


class ObjectName(Part):
    """A ConfigMap or Secret of the same namespace."""

    name: str


class EnvFrom(Part):
    """A ConfigMap or Secret of which every key is a variable."""

    config_map_ref: ObjectName | None = None
    secret_ref: ObjectName | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config_map_ref is None) == (self.secret_ref is None):
            raise ValueError("`envFrom` must have exactly one of configMapRef, secretRef")
        return self


class VolumeMount(Part):
    """Path of a volume in a container."""

    ACCEPTED = frozenset({"readOnly"})
    name: str
    mount_path: str
    sub_path: str = ""


class EmptyDir(Part):
    """An empty folder; its size limit and medium have no effect on one machine."""

    ACCEPTED = frozenset({"medium", "sizeLimit"})


class SecretFiles(Part):
    """A Secret's keys as files."""

    secret_name: str


class Claim(Part):
    """The folder behind a PersistentVolumeClaim; a folder of this machine stands for it."""

    claim_name: str


class Volume(Part):
    """An empty folder that lives as long as the pod, the files of an object, or a claim."""

    name: str
    empty_dir: EmptyDir | None = None
    config_map: ObjectName | None = None
    secret: SecretFiles | None = None
    persistent_volume_claim: Claim | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.empty_dir, self.config_map, self.secret, self.persistent_volume_claim)
        if sum(source is not None for source in sources) != 1:
            raise ValueError(
                f"volume `{self.name}` must have exactly one of emptyDir, configMap, secret, persistentVolumeClaim"
            )
        return self


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

    ACCEPTED = frozenset({"name"})
    container_port: int = Field(ge=1, le=65535)


class Container(Part):
    """A step's process, or one beside it."""

    ACCEPTED = frozenset(
        {
            "securityContext",
        }
    )
    name: str = "main"
    image: str
    command: list[str] = Field(min_length=1)
    args: list[str] = Field(default_factory=list)
    env: list[Env] = Field(default_factory=list)
    env_from: list[EnvFrom] = Field(default_factory=list)
    volume_mounts: list[VolumeMount] = Field(default_factory=list)
    ports: list[ContainerPort] = Field(default_factory=list)
    resources: Asked = Asked()


class Task(Part):
    """One task of a DAG."""

    name: str
    template: str
    arguments: Arguments = Arguments()
    depends: str | None = None
    when: str | None = None
    with_items: list[dict[str, Any]] | None = None


class Dag(Part):
    """Tasks and what they wait for."""

    tasks: list[Task]


class Suspend(Part):
    """Waits until somebody ends it; a `duration` is refused."""


class Resource(Part):
    """Creates a Workflow."""

    action: Literal["create"]
    manifest: str


class Backoff(Part):
    """Growing waits between retries."""

    duration: Duration
    factor: Number
    cap: Duration | None = None


class RetryStrategy(Part):
    """Retries of a pod that failed; an expression, where there is one, has to allow each."""

    limit: Whole
    retry_policy: Literal["Always"]
    backoff: Backoff
    expression: str | None = None
    """Over `lastRetry.exitCode`, `.status` and `.message`, all of them strings."""


class Mutex(Part):
    """A name only one holder may have at a time."""

    name: str


class Synchronization(Part):
    """Mutexes; semaphores are refused."""

    mutexes: list[Mutex] = Field(default_factory=list)


_ONLY_OF = {
    "outputs": ("container", "suspend"),
    "sidecars": ("container",),
    "retry_strategy": ("container",),
    "active_deadline_seconds": ("container",),
    "volumes": ("container",),
    "parallelism": ("dag",),
    "synchronization": ("dag",),
}
"""Field -> the only kinds of template that have it."""

_KINDS = ("container", "dag", "resource", "suspend")


class Executor(Part):
    """Account of Argo's own containers; here the runner does their work."""

    ACCEPTED = frozenset({"serviceAccountName"})


class Template(Part):
    """One template: a container, a DAG, the creation of a Workflow, or a wait for a person."""

    ACCEPTED = frozenset(
        {
            "affinity",
            "memoize",
            "metadata",
            "nodeSelector",
            "podSpecPatch",
            "priorityClassName",
            "securityContext",
            "serviceAccountName",
            "tolerations",
        }
    )
    name: str
    executor: Executor = Executor()
    automount_service_account_token: bool | None = None
    """True if the container may call the API server; None: as the workflow says."""
    inputs: Inputs = Inputs()
    outputs: OutputParts = OutputParts()
    container: Container | None = None
    sidecars: list[Container] = Field(default_factory=list)
    """Processes beside the container's, ended when it has ended."""
    dag: Dag | None = None
    resource: Resource | None = None
    suspend: Suspend | None = None
    retry_strategy: RetryStrategy | None = None
    active_deadline_seconds: Text | None = None
    volumes: list[Volume] = Field(default_factory=list)
    parallelism: int | None = Field(default=None, ge=1)
    synchronization: Synchronization | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"template `{self.name}` must have exactly one of {', '.join(_KINDS)}")
        for field in sorted(self.model_fields_set):
            if kinds[0] not in _ONLY_OF.get(field, kinds):
                raise ValueError(
                    f"`{to_camel(field)}` of template `{self.name}`, which is a {kinds[0]}, is not"
                    " supported by the local runtime"
                )
        self._check_outputs()
        self._check_sidecars()
        return self

    def _check_outputs(self) -> None:
        for parameter in self.outputs.parameters:
            if (parameter.value_from.supplied is None) == (self.suspend is not None):
                source = "supplied" if self.suspend is not None else "a file"
                raise ValueError(
                    f"output `{parameter.name}` of template `{self.name}` must be {source}"
                )
        if self.suspend is not None and self.outputs.artifacts:
            raise ValueError(f"template `{self.name}` waits for a person, and leaves no artifacts")

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
    """Labels every run gets."""

    labels: dict[str, str] = Field(default_factory=dict)
    labels_from: dict[str, LabelValueFrom] = Field(default_factory=dict)
    """Over the workflow's parameters: `workflow.parameters.release`."""


class TTLStrategy(Part):
    """Seconds after its end until a Workflow is deleted."""

    seconds_after_completion: int = Field(ge=0)


class WorkflowSpec(Part):
    """The spec of a Workflow or WorkflowTemplate."""

    ACCEPTED = frozenset(
        {
            "affinity",
            "archiveLogs",
            "artifactGC",
            "nodeSelector",
            "podGC",
            "podMetadata",
            "podPriorityClassName",
            "securityContext",
            "tolerations",
        }
    )
    entrypoint: str | None = None
    arguments: WorkflowArguments = WorkflowArguments()
    templates: list[Template] = Field(default_factory=list)
    workflow_template_ref: TemplateRef | None = None
    service_account_name: str = "default"
    automount_service_account_token: bool = True
    executor: Executor = Executor()
    on_exit: str | None = None
    active_deadline_seconds: int | None = None
    artifact_repository_ref: RepositoryRef | None = None
    workflow_metadata: WorkflowMetadata = WorkflowMetadata()
    shutdown: Literal["Stop"] | None = None
    ttl_strategy: TTLStrategy | None = None


class CronSpec(Part):
    """The spec of a CronWorkflow; times in seconds."""

    ACCEPTED = frozenset({"successfulJobsHistoryLimit", "failedJobsHistoryLimit"})
    schedules: list[str] = Field(min_length=1)
    timezone: str = "UTC"
    concurrency_policy: Literal["Forbid"]
    starting_deadline_seconds: int = 0
    workflow_spec: dict[str, Any]
