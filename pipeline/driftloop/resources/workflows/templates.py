"""Steps -> Argo's objects, by Hera. The only module that imports Hera, and itself imported only
to render."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from hera.workflows import (
    DAG,
    Artifact,
    Container,
    CronWorkflow,
    EmptyDirVolume,
    NoneArchiveStrategy,
    Parameter,
    Resource,
    S3Artifact,
    Task,
    WorkflowTemplate,
    models,
)
from hera.workflows import Resources as ContainerResources
from pydantic import BaseModel

from driftloop.contract.approvals import SUPPLIED
from driftloop.contract.names import API_GROUP, PLATFORM, REACHES_LABEL, WORK
from driftloop.kube import core
from driftloop.plan import Plan
from driftloop.resources import parts, placing, securing
from driftloop.resources.workflows.retries import RetryRule
from driftloop.resources.workflows.schedules import ScheduledRun
from driftloop.resources.workflows.steps import (
    COMPONENT,
    PARAMETERS,
    GraphNode,
    InputArtifact,
    InputParameter,
    ObjectCreation,
    OutputArtifact,
    OutputCache,
    OutputParameter,
    ParameterEquals,
    PersonHold,
    StepGraph,
    WorkflowNode,
    WorkflowOutline,
    WorkflowStep,
)
from driftloop.spec.pods import PodSettings
from driftloop.spec.resources import GpuProfile, Resources


def workflow_template(plan: Plan, outline: WorkflowOutline) -> BaseModel:
    """Build the WorkflowTemplate of a workflow."""
    names = plan.names
    labels = parts.object_labels(names, COMPONENT)
    settings = placing.settle(plan)
    template = WorkflowTemplate(
        name=outline.name,
        namespace=names.namespace,
        labels=labels,
        annotations=_name_external(outline),
        entrypoint=outline.entrypoint,
        on_exit=outline.on_exit,
        active_deadline_seconds=outline.deadline,
        arguments=[
            Parameter(name=parameter.name, value=parameter.value, description=parameter.description)
            if parameter.value is not None
            else Parameter(name=parameter.name, description=parameter.description)
            for parameter in outline.parameters
        ],
        templates=[_build_template(plan, node) for node in outline.nodes],
        # a person's code runs under it; our own steps name another one
        service_account_name=names.train,
        automount_service_account_token=False,
        executor=models.ExecutorConfig(service_account_name=names.executor),
        artifact_repository_ref=models.ArtifactRepositoryRef(
            config_map=PLATFORM, key="artifact-repository"
        ),
        artifact_gc=models.WorkflowLevelArtifactGC(strategy="Never"),
        archive_logs=True,
        pod_gc=models.PodGC(strategy="OnWorkflowCompletion"),
        ttl_strategy=models.TTLStrategy(seconds_after_completion=7 * 24 * 3600),
        security_context=models.PodSecurityContext.model_validate(parts.POD.dump_object()),
        workflow_metadata=models.WorkflowMetadata(
            labels=labels,
            labels_from={
                f"{API_GROUP}/{name}": models.LabelValueFrom(
                    expression=f"workflow.parameters.{name}"
                )
                for name in outline.lineage
            },
        ),
        pod_metadata=models.Metadata(
            labels={**settings.labels, **labels, "sidecar.istio.io/inject": "false"},
            annotations=settings.annotations or None,
        ),
        pod_priority_class_name=settings.priority_class_name,
        **_place(settings),
    )
    return _as_object(template.build())


def _name_external(outline: WorkflowOutline) -> dict[str, str] | None:
    """Return the annotation that names what others make for a person's steps."""
    steps = [node for node in outline.nodes if isinstance(node, WorkflowStep)]
    own = (
        core.Container(
            name=step.name,
            env=parts.own_environment(step.environment),
            env_from=parts.own_sources(step.environment),
        )
        for step in steps
    )
    volumes = [volume for step in steps for volume in _list_own_volumes(step)]
    return parts.name_external([*own, *(each for step in steps for each in step.sidecars)], volumes)


def _list_own_volumes(step: WorkflowStep) -> tuple[core.Volume, ...]:
    return (*parts.own_volumes(step.environment), *step.sidecars_volumes)


def cron_workflow(plan: Plan, run: ScheduledRun) -> BaseModel:
    """Build the CronWorkflow of a schedule: one run at a time; a missed one starts up to 5
    minutes late."""
    workflow = CronWorkflow(
        name=run.name,
        namespace=plan.names.namespace,
        labels=parts.object_labels(plan.names, COMPONENT),
        schedules=[run.schedule],
        timezone="Etc/UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=300,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        entrypoint=run.entrypoint,
        workflow_template_ref=models.WorkflowTemplateRef(name=run.template),
        arguments=[Parameter(name="cause", value=run.cause)],
    )
    return _as_object(workflow.build())


def retry_strategy(rule: RetryRule) -> models.RetryStrategy:
    """Build the retry strategy of a rule."""
    # no maxDuration: the pods of later tries inherit what is left of it as their deadline
    return models.RetryStrategy(
        limit=str(rule.limit),
        retry_policy="Always",
        expression=rule.expression,
        backoff=models.Backoff(
            duration=f"{rule.first_wait}s",
            factor=models.IntOrString("2"),
            cap=None if rule.longest_wait is None else f"{rule.longest_wait}s",
        ),
    )


def _as_object(model: Any) -> BaseModel:
    # Hera's models are foreign; from here on they are objects like all others.
    built: BaseModel = model
    return built


def _build_template(plan: Plan, node: WorkflowNode) -> Container | Resource | DAG | models.Template:
    match node:
        case WorkflowStep():
            return _build_container(plan, node)
        case ObjectCreation():
            # `apply` would change a walk that has begun; `create` meets "already exists"
            return Resource(
                name=node.name,
                action="create",
                # Argo's own container creates it, by the executor's token
                executor=models.ExecutorConfig(service_account_name=node.creator),
                manifest=json.dumps(node.manifest, indent=2) + "\n",
                pod_spec_patch=_patch_pod(None),
                inputs=[_build_input(parameter) for parameter in node.inputs],
            )
        case PersonHold():
            return models.Template(
                name=node.name,
                inputs=models.Inputs(
                    parameters=[models.Parameter(name=given.name) for given in node.inputs]
                ),
                outputs=models.Outputs(
                    parameters=[
                        models.Parameter(
                            name=name,
                            value_from=models.ValueFrom(supplied=models.SuppliedValueFrom()),
                        )
                        for name in SUPPLIED
                    ]
                ),
                suspend=models.SuspendTemplate(),
            )
        case StepGraph():
            return DAG(
                name=node.name,
                tasks=[_build_task(step) for step in node.nodes],
                parallelism=node.parallelism,
                synchronization=_build_mutex(node.mutex),
            )
        case _:
            assert_never(node)


def _build_task(node: WorkflowNode) -> Task:
    """Build the task of a node; its template has its name."""
    match node:
        case WorkflowStep():
            arguments, items = _task_arguments(node.inputs), node.items
        case ObjectCreation() | PersonHold():
            arguments, items = _task_arguments(node.inputs), ()
        case StepGraph():
            arguments, items = [], ()
        case _:
            assert_never(node)
    task = Task(
        name=node.name,
        template=node.name,
        depends=_join_needs(node),
        arguments=arguments,
        when=None if node.when is None else _when_expression(node.when),
    )
    if items:
        task.with_items = [dict(item) for item in items]
    return task


def _join_needs(node: GraphNode) -> str | None:
    return " && ".join(f"{name}.Succeeded" for name in node.needs) or None


def _when_expression(when: ParameterEquals) -> str:
    return f'"{{{{tasks.{when.step}.outputs.parameters.{when.parameter}}}}}" == "{when.value}"'


def _task_arguments(inputs: Sequence[InputParameter | InputArtifact]) -> list[Parameter | Artifact]:
    """Build what a task hands to its template; a template takes what has a key from the bucket
    itself."""
    arguments: list[Parameter | Artifact] = []
    for item in inputs:
        match item:
            case InputParameter():
                arguments.append(Parameter(name=item.name, value=item.value))
            case InputArtifact():
                if item.source is not None:
                    arguments.append(Artifact(name=item.name, from_=item.source))
            case _:
                assert_never(item)
    return arguments


def _build_container(plan: Plan, step: WorkflowStep) -> Container:
    platform = plan.platform
    own = step.image in (platform.driftloop, platform.monitor, platform.alibi)
    variables = (
        models.EnvVar.model_validate(item.dump_object())
        for item in (
            *(parts.working_environment() if own else parts.plain_environment(HOME=WORK)),
            *parts.platform_environment(plan, *step.variables),
            *parts.own_environment(step.environment),
        )
    )
    sources = parts.own_sources(step.environment) or ()
    reaches = {} if step.reaches is None else {REACHES_LABEL: step.reaches}
    return Container(
        name=step.name,
        image=step.image,
        command=list(step.command),
        args=list(step.arguments) or None,
        env=list(variables),
        env_from=[models.EnvFromSource.model_validate(item.dump_object()) for item in sources]
        or None,
        inputs=[_build_input(item) for item in step.inputs],
        outputs=[_build_output(item) for item in step.outputs],
        resources=_build_resources(step.resources, step.gpu),
        volumes=_build_volumes(step),
        volume_mounts=[
            models.VolumeMount.model_validate(mount.dump_object())
            for mount in parts.own_mounts(step.environment)
        ],
        sidecars=[
            models.UserContainer.model_validate(sidecar.dump_object()) for sidecar in step.sidecars
        ]
        or None,
        # a user's code may write beside itself
        security_context=models.SecurityContext.model_validate(
            (
                parts.READ_ONLY if own else securing.give_rights(parts.HARDENED, step.pod)
            ).dump_object()
        ),
        pod_security_context=_secure_pod(step.pod),
        active_deadline_seconds=step.deadline,
        retry_strategy=retry_strategy(step.retries),
        memoize=None if step.cache is None else _build_memoize(plan, step.cache),
        labels={**step.pod.labels, **reaches} or None,
        annotations=step.pod.annotations or None,
        service_account_name=step.account,
        automount_service_account_token=step.token or None,
        pod_spec_patch=_patch_pod(step.gpu or step.sidecars_gpu),
        **_place_step(plan, step.pod, step.gpu or step.sidecars_gpu),
    )


def _build_input(item: InputParameter | InputArtifact) -> Parameter | Artifact:
    match item:
        case InputParameter():
            return Parameter(name=item.name)
        case InputArtifact(key=None):
            return Artifact(name=item.name, path=item.path)
        case InputArtifact():
            return S3Artifact(
                name=item.name, path=item.path, key=item.key, optional=item.optional or None
            )
        case _:
            assert_never(item)


def _build_output(item: OutputParameter | OutputArtifact) -> Parameter | Artifact:
    match item:
        case OutputParameter():
            return Parameter(
                name=item.name, value_from=models.ValueFrom(path=f"{PARAMETERS}/{item.name}")
            )
        case OutputArtifact():
            return S3Artifact(
                name=item.name,
                path=item.path,
                key=item.key,
                archive=NoneArchiveStrategy(),
                optional=item.optional or None,
            )
        case _:
            assert_never(item)


def _build_memoize(plan: Plan, cache: OutputCache) -> models.Memoize:
    config_map = models.LocalObjectReference(name=plan.names.cache)
    return models.Memoize(
        cache=models.Cache(config_map=config_map), key=cache.key, max_age=f"{cache.seconds}s"
    )


def _build_mutex(name: str | None) -> models.Synchronization | None:
    return None if name is None else models.Synchronization(mutexes=[models.Mutex(name=name)])


def _build_resources(resources: Resources, gpu: GpuProfile | None) -> ContainerResources:
    """Build requests and limits: memory is both, GPUs are whole."""
    return ContainerResources(
        cpu_request=resources.cpu,
        memory_request=resources.memory,
        memory_limit=resources.memory,
        gpus=resources.gpu if gpu is not None else None,
        gpu_flag=gpu.resource if gpu is not None else None,
    )


def _secure_pod(own: PodSettings) -> models.PodSecurityContext | None:
    """Return users and groups of a step's pod, where they are not those of the workflow."""
    context = securing.secure_pod(own)
    if context == parts.POD:
        return None
    return models.PodSecurityContext.model_validate(context.dump_object())


def _place_step(plan: Plan, own: PodSettings, gpu: GpuProfile | None) -> Mapping[str, Any]:
    """Return the fields by which a pod gets to its nodes, as far as they differ from those of the workflow."""
    common = _place(placing.settle(plan))
    placed = _place(placing.settle(plan, own), gpu)
    differing = {name: value for name, value in placed.items() if value != common[name]}
    return {**differing, "priority_class_name": own.priority_class_name}


def _place(settings: PodSettings, gpu: GpuProfile | None = None) -> dict[str, Any]:
    affinity = placing.dump_affinity(settings)
    return {
        "node_selector": placing.select_nodes(settings, gpu),
        "tolerations": [
            models.Toleration.model_validate(each.dump_object())
            for each in placing.tolerate_taints(settings, gpu) or ()
        ]
        or None,
        "affinity": None if affinity is None else models.Affinity.model_validate(affinity),
    }


def _patch_pod(gpu: GpuProfile | None) -> str:
    """Return what a template has no field for: no addresses of the namespace's Services in the
    environment of a person's code, and the RuntimeClass of a GPU."""
    # in each template: Argo reads a workflow's own patch from the Workflow, not from what it refers to
    patch: dict[str, Any] = {"enableServiceLinks": False}
    if gpu is not None and gpu.runtime_class:
        patch["runtimeClassName"] = gpu.runtime_class
    return json.dumps(patch)


def _build_volumes(step: WorkflowStep) -> list[EmptyDirVolume | models.Volume]:
    """Build the folders of a step: its work, its own, a person's, and shared memory beside a GPU."""
    folders: list[EmptyDirVolume | models.Volume] = [
        EmptyDirVolume(name="work", mount_path=WORK),
        *(
            EmptyDirVolume(name=folder.name, mount_path=folder.mount_path)
            for folder in step.folders
        ),
        *(models.Volume.model_validate(volume.dump_object()) for volume in _list_own_volumes(step)),
    ]
    gpu = step.gpu or step.sidecars_gpu
    if gpu is None or gpu.shared_memory is None:
        return folders
    size = models.Quantity(root=gpu.shared_memory)
    return [
        *folders,
        EmptyDirVolume(
            name="shared-memory",
            mount_path="/dev/shm",  # noqa: S108
            medium="Memory",
            size_limit=size,
        ),
    ]
