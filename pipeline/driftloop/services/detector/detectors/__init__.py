"""The table of detectors. To add one: a file here with a class that has `judge`, its kind in `config.Kind`, a case
below."""

from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.payload import Rows


@dataclass(frozen=True)
class Judgement:
    """What a detector says of a window. It alarms when `score` is beyond `threshold`; which side is the detector's
    business."""

    alarm: bool
    score: float
    threshold: float
    details: dict[str, Any] = field(default_factory=dict)
    outliers: tuple[int, ...] = ()
    """Indices of the rows that are outliers, for detectors that judge rows."""


class Detector(Protocol):
    """Interface of every detector."""

    def judge(self, rows: Rows) -> Judgement:
        """Score a window (n x width); the same rows always get the same verdict."""
        ...


def fitted(config: DetectorSettings, reference: Rows) -> Detector:
    """The detector of this kind, fitted to the reference rows with the configured seed."""
    match config.kind:
        case "ks":
            from driftloop.services.detector.detectors.ks import KolmogorovSmirnov

            return KolmogorovSmirnov(config, reference)
        case "cvm":
            from driftloop.services.detector.detectors.cvm import CramerVonMises

            return CramerVonMises(config, reference)
        case "chi2":
            from driftloop.services.detector.detectors.chi2 import ChiSquared

            return ChiSquared(config, reference)
        case "iforest":
            from driftloop.services.detector.detectors.iforest import IsolationForest

            return IsolationForest(config, reference)
        case "mahalanobis":
            from driftloop.services.detector.detectors.mahalanobis import MahalanobisDistance

            return MahalanobisDistance(config, reference)
        case _:
            assert_never(config.kind)
