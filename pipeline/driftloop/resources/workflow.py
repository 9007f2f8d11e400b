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
    Env,
    NoneArchiveStrategy,
    Parameter,
    Resource,
    S3Artifact,
    Task,
    WorkflowTemplate,
    models,
)
from pydantic import BaseModel

from driftloop.contract import trees
from driftloop.contract.names import API_GROUP, ON_NEW_DATA, PLATFORM, WORK
from driftloop.contract.names import WORK_IN as IN
from driftloop.contract.names import WORK_OUT as OUT
from driftloop.contract.platform import ARTIFACT_REPOSITORY
from driftloop.kube import core
from driftloop.plan import Plan
from driftloop.plan.plan import Step, seconds
from driftloop.resources import parts
from driftloop.resources.guarding import network
from driftloop.resources.workflows import pods
from driftloop.spec.resources import GpuProfile, Resources, Retries

RUN = trees.WORKFLOW_RUN
DECISION, CAUSE = "{{workflow.parameters.decision}}", "{{workflow.parameters.cause}}"
COMPONENT = network.STEPS
JUDGEMENT = 6 * 3600
"""Seconds a step of the rollout may wait for traffic before the candidate is rejected."""

QUEUEING = 6 * 3600
"""Seconds a run may spend beside its users' functions: our own steps, and pods waiting for room."""

_SMALL = Resources(cpu="50m", memory="256Mi")
_FIT = Resources(cpu="250m", memory="1Gi")


def train(plan: Plan) -> BaseModel:
    """`P-train`: claim, snapshot, data steps, split, trials, evaluation, gate, detectors, store, register."""
    names = plan.names
    looking = plan.train.new_data is not None
    templates: list[Any] = [
        _main(),
        *((_on_new_data(), _look(plan)) if looking else ()),
        _loop(plan),
        _claim(plan),
        _snapshot(plan),
        *(_step(plan, step) for step in plan.steps),
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
        lineage=["decision"],
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
    walk = DAG(
        name="walk",
        tasks=_chain([Task(name=name, template=name) for name, _, _ in steps]),
        synchronization=pods.mutex(plan.names.release),
    )
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
        lineage=["run", "release"],
        deadline=len(steps) * (JUDGEMENT + 600) + QUEUEING,
    )


def cron(plan: Plan) -> BaseModel | None:
    """The CronWorkflow, when the spec has a schedule. One run at a time; a missed one starts up to 5 min late."""
    if plan.train.schedule is None:
        return None
    return _schedule(plan, plan.names.cron, plan.train.schedule, cause="schedule")


def new_data(plan: Plan) -> BaseModel | None:
    """The CronWorkflow that looks for new data, when the spec wants it: most of its runs end after the look."""
    if plan.train.new_data is None:
        return None
    return _schedule(plan, plan.names.new_data, plan.train.new_data, cause="new data", entrypoint=ON_NEW_DATA)


def _schedule(plan: Plan, name: str, times: str, *, cause: str, entrypoint: str | None = None) -> BaseModel:
    names = plan.names
    return _dressed(
        CronWorkflow(
            name=name,
            namespace=names.namespace,
            labels=parts.labels(names, COMPONENT),
            schedules=[times],
            timezone="Etc/UTC",
            concurrency_policy="Forbid",
            starting_deadline_seconds=300,
            successful_jobs_history_limit=3,
            failed_jobs_history_limit=3,
            entrypoint=entrypoint,
            workflow_template_ref=models.WorkflowTemplateRef(name=names.train),
            arguments=[Parameter(name="cause", value=cause)],
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
    lineage: Sequence[str],
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
            artifact_repository_ref=models.ArtifactRepositoryRef(config_map=PLATFORM, key=ARTIFACT_REPOSITORY.key),
            artifact_gc=models.WorkflowLevelArtifactGC(strategy="Never"),
            archive_logs=True,
            pod_gc=models.PodGC(strategy="OnWorkflowCompletion"),
            ttl_strategy=models.TTLStrategy(seconds_after_completion=7 * 24 * 3600),
            security_context=_pod_security(),
            workflow_metadata=models.WorkflowMetadata(
                labels=parts.labels(names, COMPONENT),
                labels_from={
                    f"{API_GROUP}/{name}": models.LabelValueFrom(expression=f"workflow.parameters.{name}")
                    for name in lineage
                },
            ),
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


def _on_new_data() -> DAG:
    look = Task(name="look", template="look")
    main = Task(name="main", template="main", depends="look.Succeeded", when=_is("look", "new", "true"))
    return DAG(name=ON_NEW_DATA, tasks=[look, main])


def _loop(plan: Plan) -> DAG:
    data, cached = "snapshot", plan.train.cache is not None
    tasks: list[Any] = [Task(name="snapshot", template="snapshot")]
    for step in plan.steps:
        name = _step_name(step.name)
        digest = [_digest_of_data()] if step.cache is not None else []
        tasks.append(_after(data, name, parameters=digest, artifacts=[_from(data, "data")]))
        data = name
    tasks.append(_after(data, "split", artifacts=[_from(data, "data")]))
    train = _after(
        "split",
        "train",
        artifacts=[_from("split", "train")],
        parameters=[
            Parameter(name="trial", value="{{item.trial}}"),
            Parameter(name="parameters", value="{{item.parameters}}"),
            *((_digest_of_data(), Parameter(name="key", value="{{item.key}}")) if cached else ()),
        ],
    )
    # an object, not its text: Argo pastes a text item with its quotes escaped once too often
    train.with_items = [
        {"trial": str(trial.number), "parameters": dict(trial.parameters), **({"key": key} if cached else {})}
        for trial, key in zip(plan.trials, plan.trial_keys, strict=True)
    ]
    tasks.append(train)
    tasks.append(
        _after("train", "pick", parameters=[Parameter(name="trials", value="{{tasks.train.outputs.parameters}}")])
    )
    picked = Parameter(name=_picked(plan), value=f"{{{{tasks.pick.outputs.parameters.{_picked(plan)}}}}}")
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
    return DAG(
        name="loop",
        tasks=tasks,
        parallelism=search.parallelism if search is not None else None,
        # the claim keeps runs apart; this does even when one that still runs was given up as lost
        synchronization=pods.mutex(plan.names.train),
    )


def _step_name(name: str) -> str:
    return f"data-{name}"


def _whole_run(plan: Plan) -> int:
    """Seconds after which a run is given up: its steps' own limits, and time for pods that wait for room.

    A pod's limit counts from its start, so one that never finds a node would keep the run, and its lease, for good.
    """
    parallel = plan.train.search.parallelism if plan.train.search is not None else 1
    rounds = -(-len(plan.trials) // parallel)
    users = sum(_longest(step.seconds, step.retries) for step in plan.steps)
    users += _longest(2 * int(plan.evaluate.timeout.total_seconds()), plan.evaluate.retries)
    return rounds * _longest(int(plan.train.timeout.total_seconds()), plan.train.retries) + users + QUEUEING


def _longest(limit: int, retries: Retries | None) -> int:
    """Seconds that all tries of a step take that may take `limit` each, with the waits between them."""
    return limit if retries is None else (1 + retries.limit) * limit + sum(pods.waits(retries))


# The steps of training


def _claim(plan: Plan) -> Container:
    names = plan.names
    return _own(
        plan,
        "claim",
        [
            *("claim", "--pipeline", names.pipeline, "--namespace", names.namespace, "--run", "{{workflow.name}}"),
            *("--decision", DECISION, "--cause", CAUSE, "--out", f"{OUT}/parameters"),
        ],
        env=parts.NATS,
        outputs=[_out_parameter("claimed")],
        reaches=network.CLAIM,
    )


def _look(plan: Plan) -> Container:
    return _own(
        plan,
        "look",
        ("look", "--pipeline", plan.names.pipeline, "--uri", plan.data, "--out", f"{OUT}/parameters"),
        env=parts.S3,
        outputs=[_out_parameter("new")],
        retries=2,
    )


def _caches(plan: Plan) -> bool:
    return plan.train.cache is not None or any(step.cache is not None for step in plan.steps)


def _digest_of_data() -> Parameter:
    return Parameter(name="digest", value="{{tasks.snapshot.outputs.parameters.digest}}")


def _snapshot(plan: Plan) -> Container:
    return _own(
        plan,
        "snapshot",
        ("snapshot", "--pipeline", plan.names.pipeline, "--run", "{{workflow.name}}", "--uri", plan.data, "--out", OUT),
        env=(*parts.S3, *parts.GIT),
        outputs=[
            *(_out(name, f"{RUN}/{name}") for name in ("snapshot", "data", "production")),
            *([_out_parameter("digest")] if _caches(plan) else []),
        ],
        resources=Resources(cpu="100m", memory="512Mi"),
        retries=2,
    )


def _step(plan: Plan, step: Step) -> Container:
    if step.run is not None:
        command = ["driftloop-train", "call", step.run, "--data", f"{IN}/data", "--out", f"{OUT}/data"]
        command += ["--timeout", str(step.seconds)]
    else:
        command = list(step.command)
    return _container(
        _step_name(step.name),
        step.image,
        command,
        inputs=[*([Parameter(name="digest")] if step.cache is not None else []), _in("data")],
        outputs=[_out("data", f"{RUN}/steps/{step.name}")],
        resources=step.resources,
        gpu=plan.gpu(step.resources),
        deadline=step.seconds + 60,
        retries=pods.retries(step.retries),
        memoize=pods.memoize(plan, step.cache, f"{{{{inputs.parameters.digest}}}}-{step.key}"),
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
        retries=pods.own_retries(0),
    )


def _trial(plan: Plan) -> Container:
    train, cache = plan.train, seconds(plan.train.cache)
    limit = seconds(train.timeout) or 1
    trial = f"{RUN}/trials/{{{{inputs.parameters.trial}}}}"
    command = [
        *("driftloop-train", "call", train.run, "--parameters", "{{inputs.parameters.parameters}}"),
        *("--data", f"{IN}/split/train", "--out", f"{OUT}/model", "--metadata", f"{OUT}/trial/{trees.METADATA_FILE}"),
        *("--trial", "{{inputs.parameters.trial}}", "--metrics", f"{OUT}/parameters", "--timeout", str(limit)),
        *(("--home", trial) if cache is not None else ()),
        *(("--checkpoint", f"{OUT}/checkpoint", "--resume", f"{IN}/checkpoint") if train.checkpoint else ()),
    ]
    kept = f"{RUN}/checkpoints/{{{{inputs.parameters.trial}}}}"
    return _container(
        "train",
        plan.train_image,
        command,
        inputs=[
            *(Parameter(name=name) for name in ("trial", "parameters", *(("digest", "key") if cache else ()))),
            _in("train", path=f"{IN}/split/train"),
            # what an earlier try of this trial left; none on the first
            *([_in("checkpoint", key=kept, optional=True)] if train.checkpoint else []),
        ],
        outputs=[
            _out("model", f"{trial}/model"),
            _out("metadata", f"{trial}/{trees.METADATA_FILE}", path=f"{OUT}/trial/{trees.METADATA_FILE}"),
            *([_out("checkpoint", kept, optional=True)] if train.checkpoint else []),
            *map(_out_parameter, ("trial", "metrics", *(("home",) if cache else ()))),
        ],
        resources=train.resources,
        gpu=plan.gpu(train.resources),
        deadline=limit + 120,
        retries=pods.retries(train.retries, resumes=train.checkpoint),
        memoize=pods.memoize(plan, cache, "{{inputs.parameters.digest}}-{{inputs.parameters.key}}"),
    )


def _picked(plan: Plan) -> str:
    """What says which trial was picked: its number, or, since a cached one is another run's, where it is."""
    return "trial" if plan.train.cache is None else "home"


def _winner(plan: Plan, name: str) -> str:
    """The key of what the picked trial left."""
    chosen = f"{{{{inputs.parameters.{_picked(plan)}}}}}"
    at = chosen if plan.train.cache is not None else f"{RUN}/trials/{chosen}"
    return f"{at}/{name}"


def _pick(plan: Plan) -> Container:
    search = plan.train.search
    best = ("--metric", search.best.metric, "--goal", search.best.goal) if search is not None else ()
    return _own(
        plan,
        "pick",
        ("pick", "--trials", "{{inputs.parameters.trials}}", *best, "--out", f"{OUT}/parameters"),
        inputs=[Parameter(name="trials")],
        outputs=[_out_parameter(name) for name in dict.fromkeys(("trial", _picked(plan)))],
    )


def _evaluate(plan: Plan) -> Container:
    limit = seconds(plan.evaluate.timeout) or 1
    command = [
        *("driftloop-train", "evaluate", plan.evaluate.run, "--model", f"{IN}/model", "--production"),
        *(f"{IN}/production", "--data", f"{IN}/split/heldout", "--out", f"{OUT}/evaluation"),
        *("--timeout", str(limit)),
    ]
    return _container(
        "evaluate",
        plan.evaluate_image,
        command,
        inputs=[
            Parameter(name=_picked(plan)),
            _in("model", key=_winner(plan, "model")),
            _in("heldout", path=f"{IN}/split/heldout"),
            _in("production"),
        ],
        outputs=[_out("evaluation", f"{RUN}/evaluation")],
        resources=plan.evaluate.resources,
        gpu=plan.gpu(plan.evaluate.resources),
        deadline=2 * limit + 120,
        retries=pods.retries(plan.evaluate.retries),
    )


def _gate(plan: Plan) -> Container:
    return _own(
        plan,
        "gate",
        ("gate", "--gates", plan.gates, "--metrics", f"{IN}/evaluation/{trees.METRICS_FILE}", "--out", OUT),
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
        plan.platform.monitor,
        command,
        inputs=[_in("train", path=f"{IN}/split/train")],
        outputs=[_out("detector", f"{RUN}/detectors/{name}")],
        resources=_FIT,
        deadline=1800,
        retries=pods.own_retries(0),
    )


def _store(plan: Plan) -> Container:
    detectors = ("--detectors", f"{IN}/detectors") if plan.monitors else ()
    return _own(
        plan,
        "store",
        [
            *("store", "--run", "{{workflow.name}}", "--trial", f"{IN}/trial", "--snapshot", f"{IN}/snapshot"),
            *("--evaluation", f"{IN}/evaluation", *detectors, "--out", OUT),
        ],
        inputs=[
            Parameter(name=_picked(plan)),
            _in("model", path=f"{IN}/trial/model", key=_winner(plan, "model")),
            _in("metadata", path=f"{IN}/trial/{trees.METADATA_FILE}", key=_winner(plan, trees.METADATA_FILE)),
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
        plan,
        "register",
        [
            *("register", "--pipeline", plan.names.pipeline, "--run", "{{workflow.name}}", "--cause", CAUSE),
            *("--model-digest", "{{inputs.parameters.model-digest}}"),
            *("--data-digest", "{{inputs.parameters.data-digest}}"),
            *("--metrics", f"{IN}/evaluation/{trees.METRICS_FILE}", *detectors, "--out", f"{OUT}/parameters"),
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
        plan,
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
        plan,
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
    plan: Plan,
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
        plan.platform.driftloop,
        ["driftloop", "step", *args],
        env=env,
        inputs=inputs,
        outputs=outputs,
        resources=resources,
        deadline=deadline,
        retries=pods.own_retries(retries),
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
    gpu: GpuProfile | None = None,
    deadline: int,
    retries: models.RetryStrategy,
    memoize: models.Memoize | None = None,
    reaches: str | None = None,
) -> Container:
    program = 3 if command[:2] == ["driftloop", "step"] else 1
    return Container(
        name=name,
        image=image,
        command=list(command[:program]),
        args=list(command[program:]) or None,
        env=[Env(name="HOME", value=WORK), *map(_variable, parts.environment(*env))],
        inputs=list(inputs),
        outputs=list(outputs),
        resources=pods.asked(resources, gpu),
        volumes=pods.volumes(gpu),
        security_context=_security(),
        active_deadline_seconds=deadline,
        retry_strategy=retries,
        memoize=memoize,
        labels=None if reaches is None else {network.REACHES: reaches},
        **pods.placed(gpu),
    )


def _variable(variable: core.EnvVar) -> models.EnvVar:
    return models.EnvVar.model_validate(variable.dump())


def _security() -> models.SecurityContext:
    return models.SecurityContext.model_validate(parts.HARDENED.dump())


def _pod_security() -> models.PodSecurityContext:
    return models.PodSecurityContext.model_validate(parts.POD.dump())


def _in(name: str, *, path: str | None = None, key: str | None = None, optional: bool = False) -> Artifact:
    path = path or f"{IN}/{name}"
    if key is None:
        return Artifact(name=name, path=path)
    return S3Artifact(name=name, path=path, key=key, optional=optional or None)


def _out(name: str, key: str, *, path: str | None = None, optional: bool = False) -> Artifact:
    path = path or f"{OUT}/{name}"
    return S3Artifact(name=name, path=path, key=key, archive=NoneArchiveStrategy(), optional=optional or None)


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
