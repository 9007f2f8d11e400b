"""A rollout: its stages, each with its limits and what was measured."""

from driftloop.console.snapshot import Snapshot
from driftloop.console.views.times import format_length
from driftloop.contract.handovers import RolloutLimits
from driftloop.operations.rollouts.rollout_progress import RolloutProgress, StageProgress
from driftloop.pages.figures import LimitFigure, RolloutStage, StageState
from driftloop.release.judgement import Limits, Measured
from driftloop.text.words import count_noun


def find_workflow(snapshot: Snapshot, name: str) -> str | None:
    """Return the Workflow of the rollout that is on, or was the last one; None when it is not known."""
    if snapshot.status is None:
        return None
    names = snapshot.find_names(name)
    run = snapshot.status.runs.get(f"{names.namespace}/{names.release}")
    return run.name if run is not None else None


def list_stages(progress: RolloutProgress) -> tuple[RolloutStage, ...]:
    """Return the stages with their limits; what is measured is of the stage that is on."""
    return tuple(_describe_stage(stage, progress.measured) for stage in progress.stages)


def describe_left(progress: RolloutProgress) -> str:
    """Say what the stage that is on still waits for, and how long that takes at this rate; empty when that is
    not known."""
    active = next((each for each in progress.stages if _find_state(each.phase) == "active"), None)
    measured = progress.measured
    if active is None or measured is None:
        return ""
    if active.to == "approval":
        return "It waits for a person; the last step's limits go on holding."
    limits = Limits.of(active.limits)
    seen = measured.joined if limits.mirrored else measured.candidate.requests
    missing = max(0, limits.needed - seen)
    times = [max(0.0, limits.seconds - measured.seconds)]
    parts = []
    if missing:
        parts.append(f"{count_noun(missing, 'request')} more")
        if seen and measured.seconds:
            times.append(missing * measured.seconds / seen)
    if max(times) >= 1:
        at_least = "at least " if missing and not seen else "about "
        parts.insert(0, f"{at_least}{format_length(max(times))}")
    if not parts:
        return "Nothing is missing any more: the next look at the figures decides."
    return f"This stage needs {', '.join(parts)}{' at this rate' if len(times) > 1 else ''}."


def _describe_stage(stage: StageProgress, measured: Measured | None) -> RolloutStage:
    state = _find_state(stage.phase)
    figures = _list_limits(stage.limits, measured if state == "active" else None)
    name = stage.to if not stage.to.isdecimal() else f"canary {stage.to} %"
    return RolloutStage(name, state, f"since {stage.started}" if state == "active" else "", figures)


def _find_state(phase: str) -> StageState:
    match phase:
        case "Succeeded":
            return "passed"
        case "Failed" | "Error":
            return "failed"
        case "Running" | "Pending":
            return "active"
        case _:
            return "waiting"


def _list_limits(limits: RolloutLimits, measured: Measured | None) -> tuple[LimitFigure, ...]:
    found = []
    if limits.seconds:
        seconds = measured.seconds if measured is not None else None
        found.append(LimitFigure("time", seconds, limits.seconds, True, "seconds"))
    if limits.requests is not None:
        count = None
        if measured is not None:
            count = float(measured.joined if limits.mirrored else measured.candidate.requests)
        found.append(LimitFigure("requests", count, float(limits.requests), True))
    if limits.error_rate is not None:
        rate = measured.candidate.error_rate if measured is not None else None
        beside = measured.production.error_rate if measured is not None else 0.0
        found.append(LimitFigure("failed", rate, limits.error_rate + beside, False, "share"))
    if limits.p99 is not None:
        p99 = measured.candidate.p99 if measured is not None else None
        found.append(LimitFigure("p99", p99, limits.p99, False, "seconds"))
    if limits.agreement is not None:
        share = measured.agreement if measured is not None and measured.rows else None
        bound = limits.agreement if isinstance(limits.agreement, float | int) else None
        found.append(LimitFigure("answered alike", share, bound, True, "share"))
    return tuple(found)
