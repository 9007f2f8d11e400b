"""What the univariate drift tests share: one p-value per feature, Bonferroni-corrected so that
windows alarm no oftener than asked, also those of one release, which share its reference."""

from typing import Any

import numpy as np

from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.values import Rows

WORST = 5


def read_verdict(detector: Any, rows: Rows) -> WindowVerdict:
    """The judgement in an alibi-detect univariate detector's prediction: alarm when the smallest
    p-value is under the threshold."""
    data = detector.predict(rows, drift_type="batch", return_p_val=True, return_distance=True)[
        "data"
    ]
    p_values, distances = np.asarray(data["p_val"]), np.asarray(data["distance"])
    shared = correct_sharing(detector.p_val, len(p_values), len(rows), len(detector.x_ref))
    threshold = float(data["threshold"]) * 10**-shared
    worst = np.argsort(p_values, kind="stable")[:WORST]
    return WindowVerdict(
        alarm=bool((p_values < threshold).any()),
        score=float(p_values.min()),
        threshold=threshold,
        details={
            "features": [
                {"feature": int(i), "pValue": float(p_values[i]), "distance": float(distances[i])}
                for i in worst
            ],
            "below": int((p_values < threshold).sum()),
        },
    )
