"""The table of detectors. To add one: a file here with a class that has `judge`, its kind in
`config.Kind`, a case below."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.rows.values import Rows

if TYPE_CHECKING:
    from driftloop.services.detector.detectors.function import FunctionProgram

MOST_SHOWN = 20
"""Columns of a verdict's details."""


@dataclass(frozen=True)
class WindowVerdict:
    """Verdict of a detector on a window. It alarms when `score` is beyond `threshold`; which side
    is the detector's business."""

    alarm: bool
    score: float
    threshold: float
    details: dict[str, Any] = field(default_factory=dict)
    outliers: tuple[int, ...] = ()
    """Indices of the rows that are outliers, for detectors that judge rows."""
    lasting: int | None = None
    """Windows up to this one that alarm together; None: they don't, or were not judged."""
    failure: str = ""
    """Why the window is not judged: the user's function failed on it. It is no alarm then, and no score."""
    severity: float | None = None
    """How far it is beyond the threshold that is the detector's own, 1 at the threshold; of a function without
    one its score. None: the detector does not say, or its threshold is calibrated otherwise."""


class WindowDetector(Protocol):
    """Interface of every detector."""

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Score a window (n x width); the same rows always get the same verdict."""
        ...


def fit_detector(
    config: DetectorSettings,
    reference: Rows,
    profile: TableProfile,
    program: "FunctionProgram | None" = None,
    calibration: Calibration | None = None,
) -> WindowDetector:
    """The detector of this kind, fitted to the reference rows with the configured seed; `program` is the
    user's function, which one of kind `function` asks. Without a calibration its rate is that of random
    windows."""
    match config.kind:
        case "tabular":
            from driftloop.services.detector.detectors.tabular import TabularDetector

            return TabularDetector(config, reference, profile, calibration)
        case "schema":
            from driftloop.services.detector.detectors.schema import SchemaDetector

            return SchemaDetector(config, reference, profile, calibration)
        case "mmd":
            from driftloop.services.detector.detectors.mmd import MaximumMeanDiscrepancy

            return MaximumMeanDiscrepancy(config, reference, profile, calibration)
        case "ks":
            from driftloop.services.detector.detectors.ks import KolmogorovSmirnovDetector

            return KolmogorovSmirnovDetector(config, reference, profile, calibration)
        case "cvm":
            from driftloop.services.detector.detectors.cvm import CramerVonMisesDetector

            return CramerVonMisesDetector(config, reference, profile, calibration)
        case "chi2":
            from driftloop.services.detector.detectors.chi2 import ChiSquaredDetector

            return ChiSquaredDetector(config, reference, profile, calibration)
        case "iforest":
            from driftloop.services.detector.detectors.iforest import IsolationForestDetector

            return IsolationForestDetector(config, reference, profile, calibration)
        case "mahalanobis":
            from driftloop.services.detector.detectors.mahalanobis import MahalanobisDistance

            return MahalanobisDistance(config, reference, profile, calibration)
        case "function":
            from driftloop.services.detector.detectors.function import FunctionDetector

            return FunctionDetector(config, reference, profile, program, calibration)
        case "alibi":
            from driftloop.services.detector.detectors.adapted import fit_adapted

            return fit_adapted(config, reference, profile, calibration)
        case "quality":
            from driftloop.services.detector.detectors.quality import QualityDetector

            return QualityDetector(config, reference, profile)
        case "estimate":
            from driftloop.services.detector.detectors.estimate import EstimateDetector

            return EstimateDetector(config, reference, profile)
        case _:
            assert_never(config.kind)
