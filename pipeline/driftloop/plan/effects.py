"""Effects of each monitor's alarms: start a run, only raise an alert, halt the loop, or go back."""

from collections.abc import Mapping
from typing import Literal

from driftloop.contract.alibi import ALIBI_CLASSES
from driftloop.spec.detector import AlibiDetect, Detector, Estimate, RowDetector, Schema
from driftloop.spec.model import Spec

AlarmEffect = Literal["retrain", "alert", "halt", "rollback"]
COUNTED: tuple[AlarmEffect, ...] = ("retrain", "halt", "rollback")
"""Effects of alarms that are counted; others are told one by one."""

DRIFT = "drift"
"""Monitor whose alarms start runs where a spec does not say whose do."""


def retrain_on(spec: Spec) -> tuple[str, ...]:
    """Return the monitors whose alarms start runs: as written, or those that say so, and of those that say
    nothing `drift` or the only one that looks for drift. A training does not mend broken requests, and an estimate
    says nothing of new labels to train on, so `schema` and `estimate` start none unless they say so."""
    if spec.retrain.on is not None:
        return tuple(spec.retrain.on)
    drift = [
        name
        for name, each in spec.monitors.items()
        if not (isinstance(each, Schema | Estimate) or scores_rows(each))
    ]
    default = DRIFT if DRIFT in drift else drift[0] if len(drift) == 1 else None
    return tuple(
        name
        for name, detector in sorted(spec.monitors.items())
        if detector.then == "retrain" or (detector.then is None and name == default)
    )


def choose_effects(spec: Spec) -> Mapping[str, AlarmEffect | None]:
    """Return what alarms do, by monitor; None where they are told, and nothing else: a traffic has a few
    odd rows always."""
    on = retrain_on(spec)
    return {
        name: "retrain" if name in on else _choose_default(detector)
        for name, detector in spec.monitors.items()
    }


def _choose_default(detector: Detector) -> AlarmEffect | None:
    if detector.then is not None:
        return detector.then
    return None if scores_rows(detector) else "alert"


def scores_rows(detector: Detector) -> bool:
    """Return True for a detector that scores single rows, not whole windows."""
    if isinstance(detector, AlibiDetect):
        return ALIBI_CLASSES[detector.alibi.class_].scores_rows
    return isinstance(detector, RowDetector)
