"""What the local runtime understands of Argo's objects.

Three kinds of fields: the ones below, which it acts on; those in a class's `ACCEPTED`, which change nothing on one
machine; and all others, which are refused by name.
"""

import json
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from pipeline.errors import LocalError


class NotUnderstoodError(LocalError):
    """An object with something the local runtime does not act on, or that is not what the API allows."""


class Part(BaseModel):
    """A piece of an object: frozen, camelCase outside, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, alias_generator=to_camel)
    ACCEPTED: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_accepted(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: v for k, v in value.items() if k not in cls.ACCEPTED and v is not None}
        return value

    def raw(self) -> dict[str, Any]:
        """As it was written, without what is only accepted."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def _any_string(value: Any) -> Any:
    """Argo's AnyString: numbers and booleans are taken as their text."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case _:
            return value


Text = Annotated[str, BeforeValidator(_any_string)]


class KeyRef(Part):
    """One key of a ConfigMap or Secret."""

    name: str
    key: str
    optional: bool = False


class ParameterSource(Part):
    """Where an output parameter comes from."""

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
    """How a folder is packed: not at all."""

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
    """What a template is called with."""

    parameters: list[Parameter] = []
    artifacts: list[Artifact] = []


class FieldRef(Part):
    """A fact about the pod."""

    ACCEPTED = frozenset({"apiVersion"})
    field_path: Literal["metadata.name", "metadata.namespace", "metadata.uid", "spec.serviceAccountName"]


class EnvSource(Part):
    """Where an environment variable's value comes from."""

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
    """Where a volume appears in a container."""

    ACCEPTED = frozenset({"readOnly"})
    name: str
    mount_path: str
    sub_path: str = ""


class Volume(Part):
    """An empty folder that lives as long as the pod."""

    name: str
    empty_dir: dict[str, Any]


class Container(Part):
    """A step's process."""

    ACCEPTED = frozenset(
        {
            "imagePullPolicy",
            "resources",
            "securityContext",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "ports",
        }
    )
    name: str = "main"
    image: str
    command: list[str] = Field(min_length=1)
    args: list[str] = []
    env: list[Env] = []
    env_from: list[EnvFrom] = []
    working_dir: str | None = None
    volume_mounts: list[VolumeMount] = []


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


_DURATION = r"^(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)$"
Duration = Annotated[str, BeforeValidator(_any_string), Field(pattern=_DURATION)]
Whole = Annotated[str, BeforeValidator(_any_string), Field(pattern=r"^\d+$")]
Number = Annotated[str, BeforeValidator(_any_string), Field(pattern=r"^\d+(\.\d+)?$")]


class Backoff(Part):
    """Growing waits between retries."""

    duration: Duration = "0"
    factor: Number = "1"
    max_duration: Duration | None = None
    cap: Duration | None = None


class RetryStrategy(Part):
    """How often a failed pod is tried again; no limit means for ever."""

    ACCEPTED = frozenset({"affinity"})
    limit: Whole | None = None
    retry_policy: Literal["Always", "OnFailure", "OnError"] = "OnFailure"
    backoff: Backoff | None = None


class Mutex(Part):
    """A name only one holder may have at a time."""

    name: str
    namespace: str | None = None


class Synchronization(Part):
    """Mutexes; semaphores are refused."""

    mutexes: list[Mutex] = []


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
            "nodeSelector",
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
    dag: Dag | None = None
    resource: Resource | None = None
    retry_strategy: RetryStrategy | None = None
    active_deadline_seconds: Text | None = None
    timeout: str | None = None
    volumes: list[Volume] = []
    parallelism: int | None = Field(default=None, ge=1)
    synchronization: Synchronization | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in ("container", "dag", "resource") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"template `{self.name}` must have exactly one of container, dag, resource")
        if self.dag is not None and (self.timeout is not None or self.active_deadline_seconds is not None):
            raise ValueError(f"template `{self.name}`: a dag can't have a timeout or activeDeadlineSeconds")
        return self


class TemplateRef(Part):
    """A WorkflowTemplate of the same namespace."""

    name: str


class RepositoryRef(Part):
    """The artifact repository: a key of a ConfigMap."""

    config_map: str = "artifact-repositories"
    key: str | None = None


class WorkflowMetadata(Part):
    """Labels and annotations every run gets."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class TTLStrategy(Part):
    """How many seconds after its end a Workflow is deleted; the first and the second win over the third."""

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
    templates: list[Template] = []
    workflow_template_ref: TemplateRef | None = None
    service_account_name: str = "default"
    on_exit: str | None = None
    hooks: Hooks | None = None
    volumes: list[Volume] = []
    parallelism: int | None = Field(default=None, ge=1)
    active_deadline_seconds: int | None = None
    synchronization: Synchronization | None = None
    artifact_repository_ref: RepositoryRef | None = None
    workflow_metadata: WorkflowMetadata = WorkflowMetadata()
    suspend: Literal[False] = False
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


class Webhook(Part):
    """One endpoint of an EventSource."""

    ACCEPTED = frozenset({"port"})
    endpoint: str = Field(pattern="^/")
    method: Literal["POST", "PUT"] = "POST"
    auth_secret: KeyRef | None = None
    max_payload_size: int = 1048576
    metadata: dict[str, str] = {}


class EventSourceSpec(Part):
    """Webhooks by event name."""

    ACCEPTED = frozenset({"replicas", "service", "template"})
    event_bus_name: Literal["default"] = "default"
    webhook: dict[str, Webhook]


class DataFilter(Part):
    """A value in the event that has to be one of these; strings are unanchored regular expressions."""

    path: str
    type: Literal["string", "number", "bool"]
    comparator: Literal["", ">=", ">", "=", "!=", "<", "<="] = "="
    value: list[Text] = Field(min_length=1)


class Filters(Part):
    """What a dependency's event must look like."""

    data: list[DataFilter] = []
    data_logical_operator: Literal["and", "or", ""] = "and"


class Dependency(Part):
    """An event of an EventSource."""

    name: str
    event_source_name: str
    event_name: str
    filters: Filters | None = None


class TriggerSource(Part):
    """The value a parameter takes: from the event's data, else the default."""

    dependency_name: str
    data_key: str | None = None
    value: Text | None = None
    use_raw_data: bool = False


class TriggerParameter(Part):
    """Where that value goes in the resource."""

    src: TriggerSource
    dest: str
    operation: Literal["overwrite", "append", "prepend", ""] = "overwrite"


class TriggerResource(Part):
    """The resource a trigger creates."""

    resource: dict[str, Any]


class KubernetesTrigger(Part):
    """Creates the resource."""

    operation: Literal["create", ""] = "create"
    source: TriggerResource
    parameters: list[TriggerParameter] = []


class TriggerTemplate(Part):
    """When a trigger fires (`conditions` over dependency names; all of them unless given) and what it does."""

    name: str
    conditions: str | None = None
    k8s: KubernetesTrigger


class TriggerRetry(Part):
    """Growing waits between tries."""

    steps: Whole = "1"
    duration: Duration = "1s"
    factor: Number = "1"
    jitter: Number = "0"


class RateLimit(Part):
    """How many triggers in a unit of time; more have to wait."""

    unit: Literal["Second", "Minute", "Hour"] = "Second"
    requests_per_unit: int = Field(default=1, ge=1)


class Trigger(Part):
    """A trigger and how failures are met."""

    template: TriggerTemplate
    retry_strategy: TriggerRetry | None = None
    rate_limit: RateLimit | None = None
    at_least_once: bool = False


class SensorSpec(Part):
    """Dependencies and what they trigger."""

    ACCEPTED = frozenset({"template", "replicas", "revisionHistoryLimit", "errorOnFailedRound", "loggingFields"})
    event_bus_name: Literal["default"] = "default"
    dependencies: list[Dependency] = Field(min_length=1)
    triggers: list[Trigger] = Field(min_length=1)


S = TypeVar("S", bound=Part)


def read(kind: type[S], value: Any, *, what: str) -> S:
    """A part from its JSON; NotUnderstoodError lists every field at fault, `what` says whose they are."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = [_fault(fault["loc"], fault["type"], fault["msg"], fault["input"]) for fault in error.errors()]
        raise NotUnderstoodError(
            f"{what}: {'; '.join(faults)}",
            hint="`driftloop up --explain` lists what the local runtime acts on",
        ) from error


def _fault(place: tuple[int | str, ...], type: str, message: str, found: Any) -> str:
    path = ".".join(str(part) for part in place)
    match type:
        case "extra_forbidden":
            return f"`{path}` is not understood by the local runtime"
        case "missing":
            return f"`{path}` is missing"
        case "value_error":
            return message.removeprefix("Value error, ")
        case _:
            return f"`{path}` is {json.dumps(found, default=str)[:60]}: {message.lower()}"
