"""`P-release`: walks a candidate into the traffic. Each stage is a commit and then a
measurement."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import assert_never

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
    StepGraph,
    WorkflowOutline,
    WorkflowParameter,
    WorkflowStep,
    finish_step,
    own_step,
)
from driftloop.spec.model import LiveQuality

PATIENCE = 6 * 3600
"""Seconds that a stage may wait for traffic before the candidate is rejected."""
QUEUEING = 6 * 3600
"""Seconds that a workflow may spend beside its steps: pods that wait for room."""

_RUN, _RELEASE = "{{workflow.parameters.run}}", "{{workflow.parameters.release}}"


def rollout_outline(plan: Plan) -> WorkflowOutline:
    """Build the rollout's workflow: shadow, the steps of the canary, promotion."""
    steps = [_stage_step(plan, stage) for stage in rollout_stages(plan)]
    chained = [replace(after, needs=(before.name,)) for before, after in pairwise(steps)]
    steps = steps[:1] + chained
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
        deadline=len(steps) * (PATIENCE + 600) + QUEUEING,
        lineage=("run", "release"),
    )


def rollout_stages(plan: Plan) -> tuple[RolloutStage, ...]:
    """Return the stages that a candidate passes by itself."""
    canary = (CanaryStage(percent) for percent in plan.rollout.canary.steps)
    match plan.rollout.promote:
        case "auto":
            return (ShadowStage(), *canary, PromoteStage())
        case "manual":
            return (ShadowStage(), *canary)
        case _:
            assert_never(plan.rollout.promote)


def _stage_step(plan: Plan, stage: RolloutStage) -> WorkflowStep:
    names = plan.names
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
        ),
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
