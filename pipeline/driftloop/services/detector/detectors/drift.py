"""Base of the univariate drift tests: one p-value per feature, Bonferroni-corrected so that
windows alarm no oftener than asked, also those of one release, which share its reference."""

from collections.abc import Callable
from typing import Any

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.rows.values import Rows

WORST = 5
Temper = Callable[[Rows, int], Rows]


def build_temper(
    calibration: Calibration | None,
    settings: DetectorSettings,
    profile: TableProfile,
) -> Temper | None:
    """Return what turns -log10 p of each column in random windows of so many rows into that of windows as
    they come; None without a calibration."""
    if calibration is None or not calibration.effects:
        return None
    names = profile.names
    return lambda scores, rows: calibration.temper_columns(settings, names, scores, rows)


def read_verdict(
    detector: Any,
    rows: Rows,
    effects: Rows | None = None,
    least: float | None = None,
    temper: Temper | None = None,
) -> WindowVerdict:
    """The judgement in an alibi-detect univariate detector's prediction: alarm when the smallest
    p-value is under the threshold, of the features whose effect (None: the test's own distance) is at
    least so large. `temper` turns -log10 p of random windows into that of windows as they come."""
    data = detector.predict(rows, drift_type="batch", return_p_val=True, return_distance=True)[
        "data"
    ]
    p_values, distances = np.asarray(data["p_val"]), np.asarray(data["distance"])
    if temper is not None:
        scores = -np.log10(np.maximum(p_values.astype(np.float64), 1e-300))
        p_values = 10 ** -temper(scores, len(rows))
    shared = correct_sharing(detector.p_val, len(p_values), len(rows), len(detector.x_ref))
    threshold = float(data["threshold"]) * 10**-shared
    certain = p_values < threshold
    large = (distances if effects is None else effects) >= (least or 0.0)
    worst = np.lexsort((p_values, ~large))[:WORST]
    return WindowVerdict(
        alarm=bool((certain & large).any()),
        score=float(p_values[large].min(initial=1.0)),
        threshold=threshold,
        details={
            "features": [
                {"feature": int(i), "pValue": float(p_values[i]), "distance": float(distances[i])}
                for i in worst
            ],
            "below": int((certain & large).sum()),
            "small": int((certain & ~large).sum()),
        },
    )
