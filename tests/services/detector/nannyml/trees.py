"""That estimates of errors are NannyML's, but for the trees: with LightGBM's in their place the numbers are equal.

    uv venv env --python 3.11 && uv pip install --python env/bin/python lightgbm==4.7.0 'numpy<1.25' 'scipy<1.12'
    PYTHONPATH=pipeline env/bin/python tests/services/detector/nannyml/trees.py

LightGBM is in none of our images, so this is no test.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from driftloop.services.detector.detectors.expected_errors import ErrorModel

HERE = Path(__file__).parent
CATEGORIES = [5, 6]
"""Columns of the cars."""


class Trees:
    """LightGBM's, as NannyML uses them."""

    def __init__(self) -> None:
        self._model = lightgbm.LGBMRegressor(verbose=-1, n_jobs=1)

    def fit(self, inputs: Any, targets: Any) -> None:
        self._model.fit(inputs, targets, categorical_feature=CATEGORIES)

    def predict(self, inputs: Any) -> Any:
        return self._model.predict(inputs)


def main() -> None:
    golden = json.loads((HERE / "golden.json").read_text())
    with np.load(HERE / "rows.npz") as rows:
        reference, labels, analysis = (
            rows[f"cars_{name}"].astype(np.float64) for name in ("reference", "labels", "analysis")
        )
    model = ErrorModel.fit(reference, abs(reference[:, -1] - labels), Trees)
    gaps = []
    for chunk, known in zip(np.split(analysis, 4), golden["cars"], strict=True):
        figures = model.expect_errors(chunk).figures
        gaps += [figures["absolute error mean"] - known["mae"], figures["RMSE"] - known["rmse"]]
    print(f"largest difference {max(map(abs, gaps)):.2g}")
    sys.exit(max(map(abs, gaps)) > 1e-9)


if __name__ == "__main__":
    main()
