"""`P-release`: walks a candidate into the traffic. Each stage is a commit and then a
measurement."""

import json
from dataclasses import replace
from typing import assert_never

from driftloop.contract.approvals import SUPPLIED, write_approvers
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import QualityLimit, RolloutLimits
from driftloop.plan import Plan
from driftloop.release.stages import (
    CanaryStage,
    PromoteStage,
    RolloutStage,
    ShadowStage,
    stage_target,
)
from driftloop.resources import parts
from driftloop.resources.workflows.steps import (
    JUDGE,
    InputParameter,
    PersonHold,
    StepGraph,
    WorkflowNode,
    WorkflowOutline,
    WorkflowParameter,
    WorkflowStep,
    finish_step,
    own_step,
    parameter_of,
    person_hold,
)
from driftloop.spec.rollout import LiveQuality

PATIENCE = 6 * 3600
"""Seconds that a stage may wait for traffic before the candidate is rejected."""
QUEUEING = 6 * 3600
"""Seconds that a workflow may spend beside its steps: pods that wait for room."""
MOVES = 50
"""Times that the pod which watches a waiting candidate may go away."""
APPROVAL = "approval"
"""Step at which the rollout waits for a person."""

_RUN, _RELEASE = "{{workflow.parameters.run}}", "{{workflow.parameters.release}}"


def rollout_outline(plan: Plan) -> WorkflowOutline:
    """Build the rollout's workflow: shadow, the steps of the canary, promotion."""
    stages = rollout_stages(plan)
    steps: list[WorkflowNode] = []
    needs: tuple[str, ...] = ()
    waits = 0
    for number, stage in enumerate(stages):
        held = isinstance(stage, PromoteStage) and is_held(plan)
        if held:
            holding = _hold_nodes(plan, stages[number - 1], needs)
            steps += holding
            needs = tuple(node.name for node in holding)
            waits = plan.approve_within
        steps.append(replace(_stage_step(plan, stage, held=held), needs=needs))
        needs = (steps[-1].name,)
    walk = StepGraph(name="walk", nodes=tuple(steps), mutex=plan.names.release)
    return WorkflowOutline(
        name=plan.names.release,
        nodes=(walk, *steps, finish_step(plan, "settle", _RUN, ("--release", _RELEASE))),
        parameters=(
            WorkflowParameter("release", "Release id of the candidate"),
            WorkflowParameter("run", "Run that trained it"),
        ),
        entrypoint=walk.name,
        on_exit="settle",
        deadline=len(stages) * (PATIENCE + 600) + QUEUEING + waits,
        lineage=("run", "release"),
    )


def rollout_stages(plan: Plan) -> tuple[RolloutStage, ...]:
    """Return the stages that a candidate passes."""
    canary = (CanaryStage(percent) for percent in plan.rollout.canary.steps)
    return (ShadowStage(), *canary, PromoteStage())


def is_held(plan: Plan) -> bool:
    """Return True when a person has to approve each promotion."""
    match plan.rollout.promote:
        case "auto":
            return False
        case "manual":
            return True
        case _:
            assert_never(plan.rollout.promote)


def _hold_nodes(
    plan: Plan, last: RolloutStage, needs: tuple[str, ...]
) -> tuple[PersonHold, WorkflowStep]:
    """Build what waits for a person after the last stage: the place itself, and beside it the step
    that goes on holding the candidate to that stage's limits."""
    names, seconds = plan.names, plan.approve_within
    hold = person_hold(plan, APPROVAL, run=_RUN, asks=f"{_RELEASE} becomes production", needs=needs)
    step = own_step(
        plan,
        "watch",
        (
            *("watch", "--pipeline", names.pipeline, "--namespace", names.namespace),
            *("--run", _RUN, "--release", _RELEASE),
            *("--workflow", "{{workflow.name}}", "--hold", APPROVAL),
            *("--limits", json.dumps(to_json(_stage_limits(plan, last)))),
            *("--within", str(seconds)),
        ),
        needs=needs,
        variables=(*parts.GIT, *parts.KUBERNETES),
        deadline=seconds + 600,
        reaches=JUDGE,
        token_of=names.advance,
    )
    # days are long for a pod: it may be moved many times
    moved = replace(step.retries, limit=MOVES, longest_wait=300)
    return hold, replace(step, retries=moved)


def _stage_step(plan: Plan, stage: RolloutStage, *, held: bool) -> WorkflowStep:
    names = plan.names
    approval = [(name, f"{{{{inputs.parameters.{name}}}}}") for name in SUPPLIED] if held else []
    return own_step(
        plan,
        _stage_name(stage),
        (
            *("advance", "--pipeline", names.pipeline, "--namespace", names.namespace),
            *("--run", _RUN, "--release", _RELEASE, "--to", stage_target(stage)),
            *(
                "--limits",
                json.dumps(to_json(_stage_limits(plan, stage))),
                "--timeout",
                str(PATIENCE),
            ),
            *(word for name, value in approval for word in (f"--approval-{name}", value)),
            *(("--approvers", write_approvers(plan.approvers)) if held and plan.approvers else ()),
        ),
        inputs=tuple(InputParameter(name, parameter_of(APPROVAL, name)) for name, _ in approval),
        variables=(*parts.GIT, *parts.KUBERNETES),
        deadline=PATIENCE + 600,
        reaches=JUDGE,
        token_of=names.advance,
    )


def _stage_name(stage: RolloutStage) -> str:
    match stage:
        case ShadowStage() | PromoteStage():
            return stage_target(stage)
        case CanaryStage(percent=percent):
            return f"canary-{percent}"
        case _:
            assert_never(stage)


def _stage_limits(plan: Plan, stage: RolloutStage) -> RolloutLimits:
    """Return the limits that a candidate is measured by; None for one that the spec leaves out."""
    shadow, canary = plan.rollout.shadow, plan.rollout.canary
    match stage:
        case ShadowStage():
            return RolloutLimits(
                seconds=shadow.for_.total_seconds(),
                requests=shadow.requests,
                agreement=shadow.agreement,
                accuracy=shadow.accuracy if shadow.agreement == "auto" else None,
                error_rate=canary.error_rate,
                mirrored=True,
            )
        case CanaryStage():
            return RolloutLimits(
                seconds=canary.every.total_seconds(),
                requests=canary.requests,
                error_rate=canary.error_rate,
                p99=canary.p99.total_seconds() if canary.p99 is not None else None,
                quality=_limit_quality(canary.quality),
            )
        case PromoteStage():
            return RolloutLimits()
        case _:
            assert_never(stage)


def _limit_quality(quality: LiveQuality | None) -> QualityLimit | None:
    if quality is None:
        return None
    return QualityLimit(
        metric=quality.metric,
        min=quality.min,
        max=quality.max,
        production_minus=quality.production_minus,
        production_plus=quality.production_plus,
        labels=quality.labels,
        waits=quality.without == "wait",
    )
