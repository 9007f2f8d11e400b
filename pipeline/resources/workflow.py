"""WorkflowTemplates and the CronWorkflow, built with Hera. The only room that imports it, and only when it renders.

`P-train` turns data into a release; `P-release` walks a release into the traffic.
"""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from hera.workflows import (
    DAG,
    Artifact,
    Container,
    CronWorkflow,
    EmptyDirVolume,
    Env,
    NoneArchiveStrategy,
    Parameter,
    Resource,
    S3Artifact,
    Task,
    WorkflowTemplate,
    models,
)
from hera.workflows import Resources as Asked
from pydantic import BaseModel

from pipeline.kube import core
from pipeline.plan import Plan, images
from pipeline.plan.names import PLATFORM
from pipeline.plan.plan import Step
from pipeline.resources import network, parts
from pipeline.spec.model import Resources

RUN = "runs/{{workflow.name}}"
DECISION, CAUSE = "{{workflow.parameters.decision}}", "{{workflow.parameters.cause}}"
IN, OUT = f"{parts.WORK}/in", f"{parts.WORK}/out"
COMPONENT = network.STEPS
JUDGEMENT = 6 * 3600
"""Seconds a step of the rollout may wait for traffic before the candidate is rejected."""

QUEUEING = 6 * 3600
"""Seconds a run may spend beside its users' functions: our own steps, and pods waiting for room."""

AWAY = (
    'lastRetry.status == "Error" || lastRetry.exitCode in ["137", "143"]'
    ' && !(lastRetry.message contains "deadline") && !(lastRetry.message contains "OOMKilled")'
)
"""Deleted pods are errors; what a node kills on its way down is a failure by signal, as are two that come again: no
time left, no memory left."""
LOST = 2
"""Times a step is tried again whose pod went away."""
_SMALL = Resources(cpu="50m", memory="256Mi")
_FIT = Resources(cpu="250m", memory="1Gi")


def train(plan: Plan) -> BaseModel:
    """`P-train`: claim, snapshot, data steps, split, trials, evaluation, gate, detectors, store, register."""
    names = plan.names
    templates: list[Any] = [
        _main(),
        _loop(plan),
        _claim(plan),
        _snapshot(plan),
        *(_step(step) for step in plan.steps),
        _split(plan),
        _trial(plan),
        _pick(plan),
        _evaluate(plan),
        _gate(plan),
        *(_fit(plan, monitor.name, monitor.config) for monitor in plan.monitors),
        _store(plan),
        _register(plan),
        _rollout(plan),
        _finish(plan, "finish", "{{workflow.name}}", ("--decision", DECISION)),
    ]
    return _template(
        plan,
        names.train,
        templates,
        arguments=[
            Parameter(name="decision", value="", description="Decision id; a schedule leaves it empty"),
            Parameter(name="cause", value="schedule", description="Why this run was started"),
        ],
        on_exit="finish",
        deadline=_whole_run(plan),
    )


def release(plan: Plan) -> BaseModel:
    """`P-release`: shadow, the steps of the canary, promotion; each is a commit and then a judgement."""
    rollout = plan.rollout
    canary = {
        "for": rollout.canary.every.total_seconds(),
        "requests": rollout.canary.requests,
        "errorRate": rollout.canary.error_rate,
        "p99": rollout.canary.p99.total_seconds() if rollout.canary.p99 is not None else None,
    }
    shadow = {
        "for": rollout.shadow.for_.total_seconds(),
        "requests": rollout.shadow.requests,
        "agreement": rollout.shadow.agreement,
        **({"accuracy": rollout.shadow.accuracy} if rollout.shadow.agreement == "auto" else {}),
        "errorRate": rollout.canary.error_rate,
    }
    steps: list[tuple[str, str, dict[str, Any]]] = [("shadow", "shadow", shadow)]
    steps += [(f"canary-{percent}", str(percent), canary) for percent in rollout.canary.steps]
    if rollout.promote == "auto":
        steps.append(("promote", "promote", {}))
    walk = DAG(name="walk", tasks=_chain([Task(name=name, template=name) for name, _, _ in steps]))
    return _template(
        plan,
        plan.names.release,
        [
            walk,
            *(_advance(plan, *step) for step in steps),
            _finish(
                plan,
                "settle",
                "{{workflow.parameters.run}}",
                ("--release", "{{workflow.parameters.release}}"),
            ),
        ],
        entrypoint="walk",
        arguments=[
            Parameter(name="release", description="Release id of the candidate"),
            Parameter(name="run", description="Run that trained it"),
        ],
        on_exit="settle",
        deadline=len(steps) * (JUDGEMENT + 600) + QUEUEING,
    )


def cron(plan: Plan) -> BaseModel | None:
    """The CronWorkflow, when the spec has a schedule. One run at a time; a missed one starts up to 5 min late."""
    if plan.train.schedule is None:
        return None
    names = plan.names
    return _dressed(
        CronWorkflow(
            name=names.cron,
            namespace=names.namespace,
            labels=parts.labels(names, COMPONENT),
            schedules=[plan.train.schedule],
            timezone="Etc/UTC",
            concurrency_policy="Forbid",
            starting_deadline_seconds=300,
            successful_jobs_history_limit=3,
            failed_jobs_history_limit=3,
            workflow_template_ref=models.WorkflowTemplateRef(name=names.train),
            arguments=[Parameter(name="cause", value="schedule")],
        ).build()
    )


# The two templates


def _template(
    plan: Plan,
    name: str,
    templates: Sequence[Any],
    *,
    arguments: list[Parameter],
    on_exit: str,
    deadline: int,
    entrypoint: str = "main",
) -> BaseModel:
    names = plan.names
    return _dressed(
        WorkflowTemplate(
            name=name,
            namespace=names.namespace,
            labels=parts.labels(names, COMPONENT),
            entrypoint=entrypoint,
            on_exit=on_exit,
            active_deadline_seconds=deadline,
            arguments=arguments,
            templates=list(templates),
            service_account_name=names.train,
            artifact_repository_ref=models.ArtifactRepositoryRef(config_map=PLATFORM, key="artifact-repository"),
            artifact_gc=models.WorkflowLevelArtifactGC(strategy="Never"),
            pod_gc=models.PodGC(strategy="OnWorkflowCompletion"),
            ttl_strategy=models.TTLStrategy(seconds_after_completion=7 * 24 * 3600),
            security_context=_pod_security(),
            workflow_metadata=models.WorkflowMetadata(labels=parts.labels(names, COMPONENT)),
            pod_metadata=models.Metadata(labels={**parts.labels(names, COMPONENT), "sidecar.istio.io/inject": "false"}),
        ).build()
    )


def _dressed(built: Any) -> BaseModel:
    # Hera's models are foreign; from here on they are objects like all others.
    found: BaseModel = built
    return found


def _main() -> DAG:
    claim = Task(
        name="claim",
        template="claim",
    )
    loop = Task(
        name="loop",
        template="loop",
        depends="claim.Succeeded",
        when=_is("claim", "claimed", "true"),
    )
    return DAG(name="main", tasks=[claim, loop])


def _loop(plan: Plan) -> DAG:
    data = "snapshot"
    tasks: list[Any] = [Task(name="snapshot", template="snapshot")]
    for step in plan.steps:
        name = _step_name(step.name)
        tasks.append(_after(data, name, artifacts=[_from(data, "data")]))
        data = name
    tasks.append(_after(data, "split", artifacts=[_from(data, "data")]))
    train = _after(
        "split",
        "train",
        artifacts=[_from("split", "train")],
        parameters=[
            Parameter(name="trial", value="{{item.trial}}"),
            Parameter(name="parameters", value="{{item.parameters}}"),
        ],
    )
    # an object, not its text: Argo pastes a text item with its quotes escaped once too often
    train.with_items = [{"trial": str(trial.number), "parameters": dict(trial.parameters)} for trial in plan.trials]
    tasks.append(train)
    tasks.append(
        _after("train", "pick", parameters=[Parameter(name="trials", value="{{tasks.train.outputs.parameters}}")])
    )
    picked = Parameter(name="trial", value="{{tasks.pick.outputs.parameters.trial}}")
    tasks.append(
        _after(
            "pick",
            "evaluate",
            parameters=[picked],
            artifacts=[_from("split", "heldout"), _from("snapshot", "production")],
        )
    )
    tasks.append(_after("evaluate", "gate", artifacts=[_from("evaluate", "evaluation")]))
    passed = _is("gate", "passed", "true")
    fits = [f"fit-{monitor.name}" for monitor in plan.monitors]
    for fit in fits:
        tasks.append(_after("gate", fit, artifacts=[_from("split", "train")], when=passed))
    tasks.append(
        _after(
            fits or ["gate"],
            "store",
            parameters=[picked],
            artifacts=[
                _from("snapshot", "snapshot"),
                _from("evaluate", "evaluation"),
                *(_from(f"fit-{m.name}", "detector", to=f"detector-{m.name}") for m in plan.monitors),
            ],
            when=None if fits else passed,
        )
    )
    digests = [
        Parameter(name=name, value=f"{{{{tasks.store.outputs.parameters.{name}}}}}")
        for name in ("model-digest", "data-digest")
    ]
    tasks.append(_after("store", "register", parameters=digests, artifacts=[_from("evaluate", "evaluation")]))
    tasks.append(
        _after(
            "register",
            "rollout",
            parameters=[Parameter(name="release", value="{{tasks.register.outputs.parameters.release}}")],
            when=_is("register", "phase", "shadow"),
        )
    )
    search = plan.train.search
    return DAG(name="loop", tasks=tasks, parallelism=search.parallelism if search is not None else None)


def _step_name(name: str) -> str:
    return f"data-{name}"


def _whole_run(plan: Plan) -> int:
    """Seconds after which a run is given up: its steps' own limits, and time for pods that wait for room.

    A pod's limit counts from its start, so one that never finds a node would keep the run, and its lease, for good.
    """
    parallel = plan.train.search.parallelism if plan.train.search is not None else 1
    rounds = -(-len(plan.trials) // parallel)
    users = sum(step.seconds for step in plan.steps) + 2 * int(plan.evaluate.timeout.total_seconds())
    return int(rounds * plan.train.timeout.total_seconds()) + users + QUEUEING


# The steps of training


def _claim(plan: Plan) -> Container:
    names = plan.names
    return _own(
        "claim",
        [
            *("claim", "--pipeline", names.pipeline, "--namespace", names.namespace, "--run", "{{workflow.name}}"),
            *("--decision", DECISION, "--cause", CAUSE, "--out", f"{OUT}/parameters"),
        ],
        env=parts.NATS,
        outputs=[_out_parameter("claimed")],
        reaches=network.CLAIM,
    )


def _snapshot(plan: Plan) -> Container:
    return _own(
        "snapshot",
        ("snapshot", "--pipeline", plan.names.pipeline, "--run", "{{workflow.name}}", "--uri", plan.data, "--out", OUT),
        env=(*parts.S3, *parts.GIT),
        outputs=[_out(name, f"{RUN}/{name}") for name in ("snapshot", "data", "production")],
        resources=Resources(cpu="100m", memory="512Mi"),
        retries=2,
    )


def _step(step: Step) -> Container:
    if step.run is not None:
        command = ["driftloop-train", "call", step.run, "--data", f"{IN}/data", "--out", f"{OUT}/data"]
        command += ["--timeout", str(step.seconds)]
    else:
        command = list(step.command)
    return _container(
        _step_name(step.name),
        step.image,
        command,
        inputs=[_in("data")],
        outputs=[_out("data", f"{RUN}/steps/{step.name}")],
        resources=step.resources,
        deadline=step.seconds + 60,
    )


def _split(plan: Plan) -> Container:
    return _container(
        "split",
        plan.train_image,
        ["driftloop-train", "split", "--data", f"{IN}/data", "--out", f"{OUT}/split", "--heldout", str(plan.heldout)],
        inputs=[_in("data")],
        outputs=[_out(part, f"{RUN}/split/{part}", path=f"{OUT}/split/{part}") for part in ("train", "heldout")],
        resources=Resources(cpu="100m", memory="512Mi"),
        deadline=1800,
    )


def _trial(plan: Plan) -> Container:
    seconds = int(plan.train.timeout.total_seconds()) or 1
    trial = f"{RUN}/trials/{{{{inputs.parameters.trial}}}}"
    command = [
        *("driftloop-train", "call", plan.train.run, "--parameters", "{{inputs.parameters.parameters}}"),
        *("--data", f"{IN}/split/train", "--out", f"{OUT}/model", "--metadata", f"{OUT}/trial/metadata.yaml"),
        *("--trial", "{{inputs.parameters.trial}}", "--metrics", f"{OUT}/parameters", "--timeout", str(seconds)),
    ]
    return _container(
        "train",
        plan.train_image,
        command,
        inputs=[
            Parameter(name="trial"),
            Parameter(name="parameters"),
            _in("train", path=f"{IN}/split/train"),
        ],
        outputs=[
            _out("model", f"{trial}/model"),
            _out("metadata", f"{trial}/metadata.yaml", path=f"{OUT}/trial/metadata.yaml"),
            _out_parameter("trial"),
            _out_parameter("metrics"),
        ],
        resources=plan.train.resources,
        deadline=seconds + 120,
    )


def _pick(plan: Plan) -> Container:
    search = plan.train.search
    best = ("--metric", search.best.metric, "--goal", search.best.goal) if search is not None else ()
    return _own(
        "pick",
        ("pick", "--trials", "{{inputs.parameters.trials}}", *best, "--out", f"{OUT}/parameters"),
        inputs=[Parameter(name="trials")],
        outputs=[_out_parameter("trial")],
    )


def _evaluate(plan: Plan) -> Container:
    seconds = int(plan.evaluate.timeout.total_seconds()) or 1
    command = [
        *("driftloop-train", "evaluate", plan.evaluate.run, "--model", f"{IN}/model", "--production"),
        *(f"{IN}/production", "--data", f"{IN}/split/heldout", "--out", f"{OUT}/evaluation"),
        *("--timeout", str(seconds)),
    ]
    return _container(
        "evaluate",
        plan.evaluate_image,
        command,
        inputs=[
            Parameter(name="trial"),
            _in("model", key=f"{RUN}/trials/{{{{inputs.parameters.trial}}}}/model"),
            _in("heldout", path=f"{IN}/split/heldout"),
            _in("production"),
        ],
        outputs=[_out("evaluation", f"{RUN}/evaluation")],
        resources=plan.evaluate.resources,
        deadline=2 * seconds + 120,
    )


def _gate(plan: Plan) -> Container:
    return _own(
        "gate",
        ("gate", "--gates", plan.gates, "--metrics", f"{IN}/evaluation/metrics.json", "--out", OUT),
        inputs=[_in("evaluation")],
        outputs=[_out("verdict", f"{RUN}/verdict"), _out_parameter("passed")],
    )


def _fit(plan: Plan, name: str, config: str) -> Container:
    command = [
        *("driftloop-detector", "fit", "--detector", config, "--reference", f"{IN}/split/train/recent"),
        *("--features", plan.features, "--out", f"{OUT}/detector"),
    ]
    return _container(
        f"fit-{name}",
        images.MONITOR,
        command,
        inputs=[_in("train", path=f"{IN}/split/train")],
        outputs=[_out("detector", f"{RUN}/detectors/{name}")],
        resources=_FIT,
        deadline=1800,
    )


def _store(plan: Plan) -> Container:
    trial = f"{RUN}/trials/{{{{inputs.parameters.trial}}}}"
    detectors = ("--detectors", f"{IN}/detectors") if plan.monitors else ()
    return _own(
        "store",
        [
            *("store", "--run", "{{workflow.name}}", "--trial", f"{IN}/trial", "--snapshot", f"{IN}/snapshot"),
            *("--evaluation", f"{IN}/evaluation", *detectors, "--out", OUT),
        ],
        inputs=[
            Parameter(name="trial"),
            _in("model", path=f"{IN}/trial/model", key=f"{trial}/model"),
            _in("metadata", path=f"{IN}/trial/metadata.yaml", key=f"{trial}/metadata.yaml"),
            _in("snapshot"),
            _in("evaluation"),
            *(_in(f"detector-{m.name}", path=f"{IN}/detectors/{m.name}") for m in plan.monitors),
        ],
        outputs=[
            _out("release", f"{RUN}/release"),
            _out_parameter("model-digest"),
            _out_parameter("data-digest"),
        ],
        resources=Resources(cpu="100m", memory="512Mi"),
    )


def _register(plan: Plan) -> Container:
    detectors = ("--detectors",) if plan.monitors else ()
    return _own(
        "register",
        [
            *("register", "--pipeline", plan.names.pipeline, "--run", "{{workflow.name}}", "--cause", CAUSE),
            *("--model-digest", "{{inputs.parameters.model-digest}}"),
            *("--data-digest", "{{inputs.parameters.data-digest}}"),
            *("--metrics", f"{IN}/evaluation/metrics.json", *detectors, "--out", f"{OUT}/parameters"),
        ],
        inputs=[Parameter(name="model-digest"), Parameter(name="data-digest"), _in("evaluation")],
        env=(*parts.S3, *parts.GIT),
        outputs=[_out_parameter("phase"), _out_parameter("release")],
        retries=2,
    )


def _rollout(plan: Plan) -> Resource:
    names = plan.names
    # `apply` would also do, but a repeat must meet "already exists", not change a walk that has begun.
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": f"{names.release}-{{{{inputs.parameters.release}}}}",
            "namespace": names.namespace,
            "labels": parts.labels(names, COMPONENT),
        },
        "spec": {
            "workflowTemplateRef": {"name": names.release},
            "arguments": {
                "parameters": [
                    {"name": "release", "value": "{{inputs.parameters.release}}"},
                    {"name": "run", "value": "{{workflow.name}}"},
                ]
            },
        },
    }
    return Resource(
        name="rollout",
        action="create",
        manifest=json.dumps(manifest, indent=2) + "\n",
        inputs=[Parameter(name="release")],
    )


# The rollout


def _advance(plan: Plan, name: str, to: str, limits: dict[str, Any]) -> Container:
    names = plan.names
    given = {key: value for key, value in limits.items() if value is not None}
    return _own(
        name,
        [
            *("advance", "--pipeline", names.pipeline, "--namespace", names.namespace),
            *("--run", "{{workflow.parameters.run}}", "--release", "{{workflow.parameters.release}}", "--to", to),
            *("--limits", json.dumps(given), "--timeout", str(JUDGEMENT)),
        ],
        env=(*parts.GIT, *parts.KUBERNETES),
        deadline=JUDGEMENT + 600,
        reaches=network.JUDGE,
    )


def _finish(plan: Plan, name: str, run: str, more: tuple[str, ...]) -> Container:
    names = plan.names
    return _own(
        name,
        [
            *("finish", "--pipeline", names.pipeline, "--namespace", names.namespace, "--run", run),
            *("--status", "{{workflow.status}}", *more),
        ],
        env=(*parts.NATS, *parts.S3, *parts.GIT, *parts.KUBERNETES),
        retries=3,
        reaches=network.FINISH,
    )


# Parts


def _own(
    name: str,
    args: Sequence[str],
    *,
    env: Sequence[str] = (),
    inputs: Sequence[Parameter | Artifact] = (),
    outputs: Sequence[Parameter | Artifact] = (),
    resources: Resources = _SMALL,
    deadline: int = 1800,
    retries: int = 0,
    reaches: str | None = None,
) -> Container:
    """A step of ours: `driftloop step …`; `reaches` is what its pod may talk to besides storage and git."""
    return _container(
        name,
        images.DRIFTLOOP,
        ["driftloop", "step", *args],
        env=env,
        inputs=inputs,
        outputs=outputs,
        resources=resources,
        deadline=deadline,
        retries=retries,
        reaches=reaches,
    )


def _container(
    name: str,
    image: str,
    command: Sequence[str],
    *,
    env: Sequence[str] = (),
    inputs: Sequence[Parameter | Artifact] = (),
    outputs: Sequence[Parameter | Artifact] = (),
    resources: Resources,
    deadline: int,
    retries: int = 0,
    reaches: str | None = None,
) -> Container:
    program = 3 if command[:2] == ["driftloop", "step"] else 1
    return Container(
        name=name,
        image=image,
        command=list(command[:program]),
        args=list(command[program:]) or None,
        env=[Env(name="HOME", value=parts.WORK), *map(_variable, parts.environment(*env))],
        inputs=list(inputs),
        outputs=list(outputs),
        resources=_asked(resources),
        volumes=[EmptyDirVolume(name="work", mount_path=parts.WORK)],
        security_context=_security(),
        active_deadline_seconds=deadline,
        retry_strategy=_retries(retries),
        labels=None if reaches is None else {network.REACHES: reaches},
    )


def _variable(variable: core.EnvVar) -> models.EnvVar:
    return models.EnvVar.model_validate(variable.dump())


def _asked(resources: Resources) -> Asked:
    return Asked(
        cpu_request=resources.cpu,
        memory_request=resources.memory,
        memory_limit=resources.memory,
        gpus=resources.gpu or None,
    )


def _retries(limit: int) -> models.RetryStrategy:
    """A step whose pod went away runs again; one that failed by itself only if told."""
    # no maxDuration: the pods of later tries inherit what is left of it as their deadline
    return models.RetryStrategy(
        limit=str(limit or LOST),
        retry_policy="Always",
        expression=None if limit else AWAY,
        backoff=models.Backoff(duration="10s", factor=models.IntOrString("2")),
    )


def _security() -> models.SecurityContext:
    return models.SecurityContext.model_validate(parts.HARDENED.dump())


def _pod_security() -> models.PodSecurityContext:
    return models.PodSecurityContext.model_validate(parts.POD.dump())


def _in(name: str, *, path: str | None = None, key: str | None = None) -> Artifact:
    path = path or f"{IN}/{name}"
    return Artifact(name=name, path=path) if key is None else S3Artifact(name=name, path=path, key=key)


def _out(name: str, key: str, *, path: str | None = None) -> Artifact:
    return S3Artifact(name=name, path=path or f"{OUT}/{name}", key=key, archive=NoneArchiveStrategy())


def _out_parameter(name: str) -> Parameter:
    return Parameter(name=name, value_from=models.ValueFrom(path=f"{OUT}/parameters/{name}"))


def _from(task: str, name: str, *, to: str | None = None) -> Artifact:
    return Artifact(name=to or name, from_=f"{{{{tasks.{task}.outputs.artifacts.{name}}}}}")


def _after(
    before: str | Sequence[str],
    name: str,
    *,
    parameters: Sequence[Parameter] = (),
    artifacts: Sequence[Artifact] = (),
    when: str | None = None,
) -> Task:
    """A task that runs when all before it have succeeded; its template has its name."""
    names = [before] if isinstance(before, str) else list(before)
    return Task(
        name=name,
        template=name,
        depends=" && ".join(f"{one}.Succeeded" for one in names),
        arguments=[*parameters, *artifacts],
        when=when,
    )


def _chain(tasks: list[Any]) -> list[Any]:
    for earlier, later in itertools.pairwise(tasks):
        later.depends = f"{earlier.name}.Succeeded"
    return tasks


def _is(task: str, parameter: str, value: str) -> str:
    return f'"{{{{tasks.{task}.outputs.parameters.{parameter}}}}}" == "{value}"'
