"""Stages of a rollout, in the order in which a candidate passes them: shadow, canary (several
times), promotion."""

from dataclasses import dataclass
from typing import assert_never


@dataclass(frozen=True)
class ShadowStage:
    """The candidate gets a copy of the traffic and answers nobody."""


@dataclass(frozen=True)
class CanaryStage:
    """The candidate answers a share of the traffic."""

    percent: int


@dataclass(frozen=True)
class PromoteStage:
    """The candidate becomes production."""


RolloutStage = ShadowStage | CanaryStage | PromoteStage


def parse_stage(text: str) -> RolloutStage | None:
    """Read a stage from `shadow`, a percentage or `promote`; None for any other text."""
    match text:
        case "shadow":
            return ShadowStage()
        case "promote":
            return PromoteStage()
        case _:
            return CanaryStage(int(text)) if text.isdecimal() else None


def stage_target(stage: RolloutStage) -> str:
    """Return the text that `parse_stage` reads."""
    match stage:
        case ShadowStage():
            return "shadow"
        case CanaryStage(percent=percent):
            return str(percent)
        case PromoteStage():
            return "promote"
        case _:
            assert_never(stage)
