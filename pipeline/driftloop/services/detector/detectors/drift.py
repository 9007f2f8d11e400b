"""What the univariate drift tests share: one p-value per feature, Bonferroni-corrected so that
windows alarm no oftener than asked."""

from typing import Any

import numpy as np

from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.values import Rows

WORST = 5


def read_verdict(detector: Any, rows: Rows) -> WindowVerdict:
    """The judgement in an alibi-detect univariate detector's prediction: alarm when the smallest
    p-value is under the threshold."""
    data = detector.predict(rows, drift_type="batch", return_p_val=True, return_distance=True)[
        "data"
    ]
    p_values, distances = np.asarray(data["p_val"]), np.asarray(data["distance"])
    worst = np.argsort(p_values, kind="stable")[:WORST]
    return WindowVerdict(
        alarm=bool(data["is_drift"]),
        score=float(p_values.min()),
        threshold=float(data["threshold"]),
        details={
            "features": [
                {"feature": int(i), "pValue": float(p_values[i]), "distance": float(distances[i])}
                for i in worst
            ],
            "below": int((p_values < data["threshold"]).sum()),
        },
    )
