"""Steps that may refuse a candidate before any traffic: the gate, then the rehearsal, with the
candidate's server beside it."""

from typing import assert_never

from driftloop.contract.names import MODEL_PORT, REHEARSAL
from driftloop.contract.trees import REQUESTS_FILE, ROWS_FILE
from driftloop.kube import core
from driftloop.plan import Plan
from driftloop.plan.effects import DRIFT
from driftloop.resources import parts
from driftloop.resources.workflows.steps import (
    IN,
    OUT,
    RUN,
    InputArtifact,
    InputParameter,
    OutputParameter,
    ParameterEquals,
    WorkflowStep,
    artifact_from,
    artifact_to,
    own_step,
)

PASSED = ParameterEquals("gate", "passed", "true")
REHEARSED = ParameterEquals("rehearse", "passed", "true")
REQUESTS = f"{RUN}/requests"
"""Folder of the captured requests in the bucket."""
ASKING = 1800
"""Seconds in which all rows are asked."""


def gate_step(plan: Plan) -> WorkflowStep:
    """Build the step that compares the candidate with the gates."""
    return own_step(
        plan,
        "gate",
        (
            *("gate", "--gates", plan.gates, "--metrics", f"{IN}/evaluation/metrics.json"),
            *(("--alone",) if _judges_alone(plan) else ()),
            *("--out", OUT),
        ),
        needs=("evaluate",),
        inputs=(artifact_from("evaluate", "evaluation"),),
        outputs=(artifact_to("verdict", f"{RUN}/verdict"), OutputParameter("passed")),
    )


def _judges_alone(plan: Plan) -> bool:
    match plan.evaluate.if_production_fails:
        case "judge-alone":
            return True
        case "refuse":
            return False
        case _:
            assert_never(plan.evaluate.if_production_fails)


def rehearsal_seconds(plan: Plan) -> int:
    """Return the seconds that a rehearsal may take; 0 without one."""
    if plan.rehearse is None:
        return 0
    return int(plan.rehearse.start.total_seconds()) + ASKING


def captures(plan: Plan) -> str | None:
    """Return the monitor that keeps production's requests; None without one, or a rehearsal. `drift`
    comes first: another one may be new, and not watch production yet."""
    watching = [monitor.name for monitor in plan.request_monitors]
    if plan.rehearse is None or not watching:
        return None
    return DRIFT if DRIFT in watching else watching[0]


def _captured() -> InputArtifact:
    """Take the captured requests, which the claim has left: it is in another graph."""
    key = f"{REQUESTS}/{REQUESTS_FILE}"
    return InputArtifact("requests", f"{IN}/{REQUESTS_FILE}", key=key)


def rehearse_steps(
    plan: Plan, servers: tuple[core.Container, ...], trial: InputParameter, model: str
) -> tuple[WorkflowStep, ...]:
    """Build the step with its servers; none without servers. `model` is the key of the picked
    trial's."""
    if not servers:
        return ()
    asked = (
        word
        for number, server in enumerate(servers)
        for word in (f"--{server.name}", f"http://localhost:{MODEL_PORT + number}")
    )
    step = own_step(
        plan,
        "rehearse",
        (
            *("rehearse", *asked, "--limits", plan.rehearsal_limits),
            *("--rows", f"{IN}/evaluation/{ROWS_FILE}", "--metrics", f"{IN}/evaluation"),
            *(("--requests", f"{IN}/{REQUESTS_FILE}") if captures(plan) else ()),
            *("--servers", REHEARSAL, "--out", OUT),
        ),
        needs=("gate",),
        when=PASSED,
        inputs=(
            trial,
            InputArtifact("model", f"{REHEARSAL}/candidate/model", key=model),
            artifact_from("snapshot", "production", path=f"{REHEARSAL}/production"),
            artifact_from("evaluate", "evaluation"),
            *((_captured(),) if captures(plan) else ()),
        ),
        outputs=(
            artifact_to("rehearsal", f"{RUN}/rehearsal"),
            OutputParameter("passed"),
            OutputParameter("model-digest"),
        ),
        deadline=rehearsal_seconds(plan),
        sidecars=servers,
        folders=(core.VolumeMount(name="rehearsal", mount_path=REHEARSAL),),
        sidecars_gpu=plan.gpu_profile(plan.serve.resources),
        sidecars_volumes=parts.own_volumes(plan.serve.environment),
        # where the version would run
        pod=plan.serve.pod,
    )
    return (step,)
