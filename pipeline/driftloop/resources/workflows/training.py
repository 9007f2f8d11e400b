"""`P-train`: turns data into a release, and starts the release's rollout."""

from dataclasses import replace

from driftloop.contract.accounts import NatsRole
from driftloop.contract.limits import DATA_LIMIT
from driftloop.contract.names import ON_NEW_DATA, SCHEDULE_CAUSE
from driftloop.contract.trees import COLLECTED_FILE
from driftloop.kube import core
from driftloop.plan import DataStepPlan, Plan
from driftloop.plan.plan import whole_seconds
from driftloop.resources import detector, parts
from driftloop.resources.workflows.adopting import adopt_steps
from driftloop.resources.workflows.calls import name_function, name_program
from driftloop.resources.workflows.fitting import fit_answer_steps, fit_name, fit_request_steps
from driftloop.resources.workflows.refusing import (
    PASSED,
    REHEARSED,
    REQUESTS,
    captures,
    gate_step,
    rehearsal_seconds,
    rehearse_steps,
)
from driftloop.resources.workflows.retries import own_retries, total_seconds, user_retries
from driftloop.resources.workflows.steps import (
    CLAIM,
    COMPONENT,
    GIT,
    IN,
    OUT,
    PARAMETERS,
    RUN,
    SMALL,
    SOURCES,
    InputArtifact,
    InputParameter,
    ObjectCreation,
    OutputCache,
    OutputParameter,
    ParameterEquals,
    PersonHold,
    StepGraph,
    WorkflowNode,
    WorkflowOutline,
    WorkflowParameter,
    WorkflowStep,
    artifact_from,
    artifact_to,
    finish_step,
    own_step,
    parameter_of,
    person_hold,
)
from driftloop.spec.resources import Resources

QUEUEING = 6 * 3600
"""Seconds a run may spend beside its users' functions: our own steps, and pods waiting for room."""

COLLECTING = 4 * 3600
"""Seconds in which a step has to be done with the sources of the data."""

_DECISION, _CAUSE = "{{workflow.parameters.decision}}", "{{workflow.parameters.cause}}"
_MEDIUM = Resources(cpu="100m", memory="512Mi")
_REHEARSED = InputParameter("rehearsed", parameter_of("rehearse", "model-digest"))
_NEW = ParameterEquals("snapshot", "new", "true")
"""Condition of the step after the snapshot; without it all later ones are left out, too."""


def training_outline(plan: Plan, servers: tuple[core.Container, ...]) -> WorkflowOutline:
    """Build the workflow of a run: claim, the loop from snapshot to register, and the look for
    new data. `servers` are the model servers of the rehearsal."""
    claim, steps = _claim_step(plan), loop_steps(plan, servers)
    loop = StepGraph(
        name="loop",
        needs=("claim",),
        when=ParameterEquals("claim", "claimed", "true"),
        nodes=steps,
        parallelism=plan.train.search.parallelism if plan.train.search is not None else None,
        # the claim keeps runs apart; this does even when one that still runs was given up as lost
        mutex=plan.names.train,
    )
    adopted = adopt_steps(plan, steps, _picked_trial(plan))
    main = StepGraph(name="main", nodes=(claim, loop, *adopted[:1]))
    finish = finish_step(plan, "finish", "{{workflow.name}}", ("--decision", _DECISION))
    return WorkflowOutline(
        name=plan.names.train,
        nodes=(main, *_look_for_data(plan, main), loop, *adopted, claim, *steps, finish),
        parameters=(
            WorkflowParameter("decision", "Decision id; a schedule leaves it empty", value=""),
            WorkflowParameter("cause", "Why this run was started", value=SCHEDULE_CAUSE),
        ),
        entrypoint=main.name,
        on_exit=finish.name,
        deadline=_run_deadline(plan),
        lineage=("decision",),
    )


def loop_steps(
    plan: Plan, servers: tuple[core.Container, ...]
) -> tuple[WorkflowStep | ObjectCreation | PersonHold, ...]:
    """Build the steps of the loop, in order."""
    rehearse = rehearse_steps(plan, servers, _picked_trial(plan), _picked_key(plan, "model"))
    answers = fit_answer_steps(plan) if rehearse else ()
    data, prepared = _data_steps(plan)
    fits = fit_request_steps(plan, prepared[0])
    return (
        *_collect_steps(plan),
        _snapshot_step(plan),
        *data,
        _split_step(plan, *prepared),
        *fits,
        _trial_step(plan, fits),
        _pick_step(plan),
        _evaluate_step(plan),
        gate_step(plan),
        *rehearse,
        *answers,
        _store_step(plan, (*rehearse, *answers)),
        _register_step(plan, rehearse),
        _rollout_step(plan),
    )


def _run_deadline(plan: Plan) -> int:
    """Return the seconds after which a run is given up: its steps' limits, and time for pods
    that wait for room.

    A pod's limit counts from its start, so one that never finds a node would keep the run, and
    its lease, for good.
    """
    train, evaluate = plan.train, plan.evaluate
    parallel = train.search.parallelism if train.search is not None else 1
    rounds = -(-len(plan.trials) // parallel)
    trial = total_seconds(int(train.timeout.total_seconds()), train.retries)
    evaluation = total_seconds(2 * int(evaluate.timeout.total_seconds()), evaluate.retries)
    data = sum(total_seconds(step.seconds, step.retries) for step in plan.steps)
    rehearsal = rehearsal_seconds(plan)
    waits = sum(plan.approve_within for step in plan.steps if step.approve)
    return rounds * trial + data + evaluation + rehearsal + waits + QUEUEING


def _look_for_data(plan: Plan, main: StepGraph) -> tuple[WorkflowNode, ...]:
    if plan.train.new_data is None:
        return ()
    look = own_step(
        plan,
        "look",
        (
            *("look", "--pipeline", plan.names.pipeline, "--uri", plan.data),
            *(*plan.source_options, "--out", PARAMETERS),
        ),
        variables=parts.S3,
        environment=plan.source_keys,
        outputs=(OutputParameter("new"),),
        resources=_MEDIUM if plan.sources else SMALL,
        deadline=COLLECTING if plan.sources else 1800,
        retries=2,
        reaches=SOURCES if plan.sources else None,
    )
    when = ParameterEquals(look.name, "new", "true")
    return StepGraph(
        name=ON_NEW_DATA, nodes=(look, replace(main, needs=(look.name,), when=when))
    ), look


def _claim_step(plan: Plan) -> WorkflowStep:
    names, watching = plan.names, captures(plan)
    return own_step(
        plan,
        "claim",
        (
            *("claim", "--pipeline", names.pipeline, "--namespace", names.namespace),
            *("--run", "{{workflow.name}}", "--decision", _DECISION, "--cause", _CAUSE),
            *(("--adopts",) if plan.tracking is not None else ()),
            *(("--capture", watching, "--requests", f"{OUT}/requests") if watching else ()),
            *("--out", PARAMETERS),
        ),
        variables=(*parts.nats(NatsRole.STEP, NatsRole.READER), *parts.GIT),
        outputs=(
            *map(OutputParameter, ("claimed", "obstacle", "reason")),
            *((artifact_to("requests", REQUESTS),) if watching else ()),
        ),
        reaches=CLAIM,
    )


def _collect_steps(plan: Plan) -> tuple[WorkflowStep, ...]:
    """Build the step that copies what is new at the sources; none without any."""
    if not plan.sources:
        return ()
    collect = own_step(
        plan,
        "collect",
        ("collect", "--pipeline", plan.names.pipeline, *plan.source_options, "--out", OUT),
        variables=parts.S3,
        environment=plan.source_keys,
        outputs=(artifact_to("sources", f"{RUN}/sources"),),
        resources=_MEDIUM,
        deadline=COLLECTING,
        retries=2,
        reaches=SOURCES,
    )
    return (collect,)


def _snapshot_step(plan: Plan) -> WorkflowStep:
    cached = plan.train.cache is not None or any(step.cache is not None for step in plan.steps)
    return own_step(
        plan,
        "snapshot",
        (
            *("snapshot", "--pipeline", plan.names.pipeline, "--run", "{{workflow.name}}"),
            *("--uri", plan.data, "--recipe", plan.recipe, "--cause", _CAUSE, "--out", OUT),
            *(("--max-bytes", str(plan.data_bytes)) if plan.data_bytes != DATA_LIMIT else ()),
            *_least_rows(plan),
            *detector.monitor_options(plan),
            *(plan.column_options if plan.raw_features is not None else ()),
            *(("--signatures", plan.signatures) if plan.signatures is not None else ()),
            *(("--sources", f"{IN}/sources/{COLLECTED_FILE}") if plan.sources else ()),
        ),
        needs=("collect",) if plan.sources else (),
        inputs=(artifact_from("collect", "sources"),) if plan.sources else (),
        variables=(
            *parts.S3,
            *parts.GIT,
            *(parts.SIGNING_KEYS if plan.signatures is not None else ()),
        ),
        outputs=(
            *(artifact_to(name, f"{RUN}/{name}") for name in ("snapshot", "data", "production")),
            OutputParameter("new"),
            *((OutputParameter("digest"),) if cached else ()),
        ),
        resources=_MEDIUM,
        retries=2,
        reaches=GIT,
    )


def _least_rows(plan: Plan) -> tuple[str, ...]:
    least = plan.retrain.least_new_rows
    return () if least is None else ("--least-rows", str(least))


def _data_digest() -> InputParameter:
    return InputParameter("digest", parameter_of("snapshot", "digest"))


def _data_steps(
    plan: Plan,
) -> tuple[tuple[WorkflowStep | PersonHold, ...], tuple[str, str]]:
    """Build the steps of the data, each with the wait for a person after it where it has one; and return
    which of them has the prepared data, and what has to be over before they are read."""
    nodes: list[WorkflowStep | PersonHold] = []
    source = after = "snapshot"
    for step in plan.steps:
        nodes.append(_data_step(plan, step, source, after))
        source = after = nodes[-1].name
        if step.approve:
            asks = f"the run goes on after data step {step.name}"
            nodes.append(
                person_hold(
                    plan,
                    f"approve-{step.name}",
                    run="{{workflow.name}}",
                    asks=asks,
                    needs=(source,),
                )
            )
            after = nodes[-1].name
    return tuple(nodes), (source, after)


def _data_step_name(step: DataStepPlan) -> str:
    return f"data-{step.name}"


def _data_step(plan: Plan, step: DataStepPlan, before: str, after: str) -> WorkflowStep:
    command, arguments = step.command[:1], step.command[1:]
    if step.run is not None:
        command = ("driftloop-train",)
        arguments = (
            *("call", step.run, "--data", f"{IN}/data", "--out", f"{OUT}/data"),
            *("--timeout", str(step.seconds)),
        )
    digest: tuple[InputParameter, ...] = ()
    cache = None
    if step.cache is not None:
        digest = (_data_digest(),)
        cache = OutputCache(step.cache, f"{{{{inputs.parameters.digest}}}}-{step.key}")
    return WorkflowStep(
        name=_data_step_name(step),
        needs=(after,),
        when=_NEW if before == "snapshot" else None,
        image=step.image,
        command=command,
        arguments=arguments,
        inputs=(*digest, artifact_from(before, "data")),
        outputs=(artifact_to("data", f"{RUN}/steps/{step.name}"),),
        environment=step.environment,
        pod=step.pod,
        resources=step.resources,
        gpu=plan.gpu_profile(step.resources),
        deadline=step.seconds + 60,
        retries=user_retries(step.retries),
        cache=cache,
    )


def _split_step(plan: Plan, before: str, after: str) -> WorkflowStep:
    return WorkflowStep(
        name="split",
        needs=(after,),
        when=_NEW if before == "snapshot" else None,
        image=plan.train_image,
        command=("driftloop-train",),
        arguments=(
            *("split", "--data", f"{IN}/data", "--out", f"{OUT}/split"),
            *("--heldout", str(plan.heldout)),
            *(plan.column_options if plan.request_monitors else ()),
            *(("--mixed",) if plan.request_monitors and plan.takes_mixed else ()),
        ),
        inputs=(artifact_from(before, "data"),),
        outputs=tuple(
            artifact_to(part, f"{RUN}/split/{part}", path=f"{OUT}/split/{part}")
            for part in ("train", "heldout")
        ),
        resources=_MEDIUM,
        deadline=1800,
        retries=own_retries(0),
    )


def _trial_step(plan: Plan, fits: tuple[WorkflowStep, ...]) -> WorkflowStep:
    train, cache = plan.train, whole_seconds(plan.train.cache)
    limit = whole_seconds(train.timeout) or 1
    trial = f"{RUN}/trials/{{{{inputs.parameters.trial}}}}"
    # what an earlier try of this trial left; none on the first
    kept = f"{RUN}/checkpoints/{{{{inputs.parameters.trial}}}}"
    checkpoint = InputArtifact("checkpoint", f"{IN}/checkpoint", key=kept, optional=True)
    key = (_data_digest(), InputParameter("key", "{{item.key}}")) if cache else ()
    metadata = f"{OUT}/trial/metadata.yaml"
    return WorkflowStep(
        name="train",
        # what a detector refuses of the data ends the run before anything is trained on it
        needs=tuple(step.name for step in fits) or ("split",),
        image=plan.train_image,
        command=("driftloop-train",),
        arguments=(
            *("call", *name_function(train), "--parameters", "{{inputs.parameters.parameters}}"),
            *("--data", f"{IN}/split/train", "--out", f"{OUT}/model", "--metadata", metadata),
            *("--trial", "{{inputs.parameters.trial}}", "--metrics", PARAMETERS),
            *("--timeout", str(limit)),
            *(("--home", trial) if cache else ()),
            *(
                ("--checkpoint", f"{OUT}/checkpoint", "--resume", f"{IN}/checkpoint")
                if train.checkpoint
                else ()
            ),
            *name_program(train),
        ),
        inputs=(
            InputParameter("trial", "{{item.trial}}"),
            InputParameter("parameters", "{{item.parameters}}"),
            *key,
            artifact_from("split", "train", path=f"{IN}/split/train"),
            *((checkpoint,) if train.checkpoint else ()),
        ),
        outputs=(
            artifact_to("model", f"{trial}/model"),
            artifact_to("metadata", f"{trial}/metadata.yaml", path=metadata),
            *((artifact_to("checkpoint", kept, optional=True),) if train.checkpoint else ()),
            *map(OutputParameter, ("trial", "metrics", *(("home",) if cache else ()))),
        ),
        environment=train.environment,
        pod=train.pod,
        resources=train.resources,
        gpu=plan.gpu_profile(train.resources),
        deadline=limit + 120,
        retries=user_retries(train.retries, resumes=train.checkpoint),
        cache=OutputCache(cache, "{{inputs.parameters.digest}}-{{inputs.parameters.key}}")
        if cache
        else None,
        # an object, not its text: Argo pastes a text item with its quotes escaped once too often
        items=tuple(
            {
                "trial": str(trial.number),
                "parameters": dict(trial.parameters),
                **({"key": key} if cache else {}),
            }
            for trial, key in zip(plan.trials, plan.trial_keys, strict=True)
        ),
    )


def _picked_trial(plan: Plan) -> InputParameter:
    """Return the trial that was picked: by its number, or by its folder, since a cached one is
    another run's."""
    name = "trial" if plan.train.cache is None else "home"
    return InputParameter(name, parameter_of("pick", name))


def _picked_key(plan: Plan, name: str) -> str:
    """Return the key of a file or folder that the picked trial left."""
    picked = f"{{{{inputs.parameters.{_picked_trial(plan).name}}}}}"
    folder = picked if plan.train.cache is not None else f"{RUN}/trials/{picked}"
    return f"{folder}/{name}"


def _pick_step(plan: Plan) -> WorkflowStep:
    search = plan.train.search
    best = (
        ("--metric", search.best.metric, "--goal", search.best.goal) if search is not None else ()
    )
    return own_step(
        plan,
        "pick",
        ("pick", "--trials", "{{inputs.parameters.trials}}", *best, "--out", PARAMETERS),
        needs=("train",),
        inputs=(InputParameter("trials", "{{tasks.train.outputs.parameters}}"),),
        outputs=tuple(map(OutputParameter, dict.fromkeys(("trial", _picked_trial(plan).name)))),
    )


def _evaluate_step(plan: Plan) -> WorkflowStep:
    limit = whole_seconds(plan.evaluate.timeout) or 1
    return WorkflowStep(
        name="evaluate",
        needs=("pick",),
        image=plan.evaluate_image,
        command=("driftloop-train",),
        arguments=(
            *("evaluate", *name_function(plan.evaluate), "--model", f"{IN}/model"),
            *("--production", f"{IN}/production", "--data", f"{IN}/split/heldout"),
            *("--out", f"{OUT}/evaluation", "--timeout", str(limit)),
            *(("--rows", str(plan.rehearsed_rows)) if plan.rehearse is not None else ()),
            *((*plan.target_options, *plan.use_options) if plan.rehearse is not None else ()),
            *name_program(plan.evaluate),
        ),
        inputs=(
            _picked_trial(plan),
            InputArtifact("model", f"{IN}/model", key=_picked_key(plan, "model")),
            artifact_from("split", "heldout", path=f"{IN}/split/heldout"),
            artifact_from("snapshot", "production"),
        ),
        outputs=(artifact_to("evaluation", f"{RUN}/evaluation"),),
        environment=plan.evaluate.environment,
        pod=plan.evaluate.pod,
        resources=plan.evaluate.resources,
        gpu=plan.gpu_profile(plan.evaluate.resources),
        deadline=2 * limit + 120,
        retries=user_retries(plan.evaluate.retries),
    )


def _store_step(plan: Plan, before: tuple[WorkflowStep, ...]) -> WorkflowStep:
    """Build the step that writes the version's folder, after the rehearsal and what is fitted on it."""
    metadata = InputArtifact(
        "metadata", f"{IN}/trial/metadata.yaml", key=_picked_key(plan, "metadata.yaml")
    )
    return own_step(
        plan,
        "store",
        (
            *(("store", "--pipeline", plan.names.pipeline) if plan.monitors else ("store",)),
            *("--run", "{{workflow.name}}", "--trial", f"{IN}/trial"),
            *("--snapshot", f"{IN}/snapshot", "--evaluation", f"{IN}/evaluation"),
            *(("--detectors", f"{IN}/detectors") if plan.monitors else ()),
            *(("--rehearsed", "{{inputs.parameters.rehearsed}}") if before else ()),
            *("--out", OUT),
        ),
        needs=tuple(step.name for step in before) or ("gate",),
        variables=parts.S3 if plan.monitors else (),
        when=REHEARSED if before else PASSED,
        inputs=(
            _picked_trial(plan),
            InputArtifact("model", f"{IN}/trial/model", key=_picked_key(plan, "model")),
            metadata,
            artifact_from("snapshot", "snapshot"),
            artifact_from("evaluate", "evaluation"),
            *((_REHEARSED,) if before else ()),
            *(
                artifact_from(
                    fit_name(monitor),
                    "detector",
                    path=f"{IN}/detectors/{monitor.name}",
                    to=f"detector-{monitor.name}",
                )
                for monitor in plan.monitors
            ),
        ),
        outputs=(
            artifact_to("release", f"{RUN}/release"),
            *map(OutputParameter, ("model-digest", "data-digest")),
            *((OutputParameter("detector-digests"),) if plan.monitors else ()),
            OutputParameter("record-digests"),
        ),
        resources=_MEDIUM,
    )


def _register_step(plan: Plan, rehearse: tuple[WorkflowStep, ...]) -> WorkflowStep:
    fitted = (*(("detector-digests",) if plan.monitors else ()), "record-digests")
    digests = ("model-digest", "data-digest", *fitted)
    return own_step(
        plan,
        "register",
        (
            *("register", "--pipeline", plan.names.pipeline, "--run", "{{workflow.name}}"),
            *("--cause", _CAUSE, "--recipe", plan.recipe),
            *("--model-digest", "{{inputs.parameters.model-digest}}"),
            *("--data-digest", "{{inputs.parameters.data-digest}}"),
            *("--metrics", f"{IN}/evaluation/metrics.json"),
            *(("--detectors", *detector.monitor_options(plan)) if plan.monitors else ()),
            *(
                part
                for name in fitted
                for part in (f"--{name}", f"{{{{inputs.parameters.{name}}}}}")
            ),
            *(("--rehearsal", f"{IN}/rehearsal") if rehearse else ()),
            *(("--sign",) if plan.signatures is not None else ()),
            *("--out", PARAMETERS),
        ),
        needs=("store",),
        variables=(
            *parts.S3,
            *parts.GIT,
            *(parts.SIGNING if plan.signatures is not None else ()),
        ),
        inputs=(
            *(InputParameter(name, parameter_of("store", name)) for name in digests),
            artifact_from("evaluate", "evaluation"),
            *(artifact_from(step.name, "rehearsal") for step in rehearse),
        ),
        outputs=(OutputParameter("phase"), OutputParameter("release")),
        retries=2,
        reaches=GIT,
    )


def _rollout_step(plan: Plan) -> ObjectCreation:
    names = plan.names
    return ObjectCreation(
        name="rollout",
        needs=("register",),
        when=ParameterEquals("register", "phase", "shadow"),
        creator=names.starter,
        inputs=(InputParameter("release", parameter_of("register", "release")),),
        manifest={
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {
                "name": f"{names.release}-{{{{inputs.parameters.release}}}}",
                "namespace": names.namespace,
                "labels": parts.object_labels(names, COMPONENT),
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
        },
    )
