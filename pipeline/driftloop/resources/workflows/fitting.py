"""Steps that fit the monitors: those of requests on the run's data, before anything is trained on it;
those of answers on what the candidate has answered in its rehearsal."""

from driftloop.contract.trees import ANSWERS_FILE, ROWS_FILE
from driftloop.plan import Monitor, Plan
from driftloop.resources import functions
from driftloop.resources.workflows.refusing import REHEARSED
from driftloop.resources.workflows.retries import own_retries
from driftloop.resources.workflows.steps import (
    IN,
    OUT,
    RUN,
    InputArtifact,
    ParameterEquals,
    WorkflowStep,
    artifact_from,
    artifact_to,
)
from driftloop.spec.detector import AlibiDetect
from driftloop.spec.resources import Resources

FIT = "fit-"
"""Beginning of the names of these steps."""

_FIT = Resources(cpu="250m", memory="1Gi")
_FIT_ADAPTED = Resources(cpu="500m", memory="3Gi")


def fit_name(monitor: Monitor) -> str:
    """Return the name of the step that fits a monitor."""
    return f"{FIT}{monitor.name}"


def fit_request_steps(plan: Plan, before: str) -> tuple[WorkflowStep, ...]:
    """Build the steps for the monitors of requests, which read the output `data` of the step `before`: all rows in
    their own order. Equal rows are held out together, so either side of the split alone is another population.
    """
    reference = ("--reference", f"{IN}/data/recent", *plan.column_options)
    data = artifact_from(before, "data")
    return tuple(
        _build_step(plan, monitor, reference, after="split", data=data)
        for monitor in plan.request_monitors
    )


def fit_answer_steps(plan: Plan) -> tuple[WorkflowStep, ...]:
    """Build the steps for the monitors of answers, which need a rehearsal that was passed; some of them need
    the rows that it asked, too."""
    answers = ("--answers", f"{IN}/rehearsal/{ANSWERS_FILE}")
    data = artifact_from("rehearse", "rehearsal")
    asked = ("--rows", f"{IN}/evaluation/{ROWS_FILE}", *plan.column_options)
    rows = artifact_from("evaluate", "evaluation")
    return tuple(
        _build_step(
            plan,
            monitor,
            (*answers, *(asked if monitor.reads_requests else ())),
            after="rehearse",
            data=data,
            more=(rows,) if monitor.reads_requests else (),
            when=REHEARSED,
        )
        for monitor in plan.answer_monitors
    )


def _build_step(
    plan: Plan,
    monitor: Monitor,
    source: tuple[str, ...],
    *,
    after: str,
    data: InputArtifact,
    more: tuple[InputArtifact, ...] = (),
    when: ParameterEquals | None = None,
) -> WorkflowStep:
    return WorkflowStep(
        name=fit_name(monitor),
        needs=(after,),
        when=when,
        image=monitor.choose_image(plan.platform),
        command=("driftloop-detector",),
        arguments=(
            *("fit", "--detector", monitor.detector_config, *source),
            *("--run", "{{workflow.name}}", "--out", f"{OUT}/detector"),
            *functions.function_options(monitor),
        ),
        inputs=(data, *more),
        outputs=(artifact_to("detector", f"{RUN}/detectors/{monitor.name}"),),
        resources=_FIT_ADAPTED if isinstance(monitor.detector, AlibiDetect) else _FIT,
        deadline=1800,
        retries=own_retries(0),
        # a person's code runs in the pod of a monitor's function
        account=plan.names.steps if monitor.function_image is None else None,
        sidecars=functions.build_containers(monitor),
        folders=functions.shared_folders(monitor),
        sidecars_volumes=functions.own_volumes(monitor),
        pod=monitor.detector.pod,
    )
