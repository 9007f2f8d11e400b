"""What NannyML estimates of its own public data sets, for test_estimate.py, which has no NannyML.

    uv venv env --python 3.11 && uv pip install --python env/bin/python nannyml==0.13.1
    env/bin/python tests/services/detector/nannyml/make.py

It writes rows.npz, the first rows of the sets, and golden.json, the estimates in chunks of 500 of them. The data sets are part
of NannyML (Apache License 2.0): a synthetic one of loans for cars, one of credit cards with three classes, houses of
California (Pace and Barry, 1997), and a synthetic one of prices of cars.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import nannyml
import numpy as np
import pandas as pd

CHUNK = 500
REFERENCE, ANALYSIS = 1500, 2000
HERE = Path(__file__).parent
CLASSES = ("prepaid_card", "highstreet_card", "upmarket_card")
CARS = ("car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission")


def choose(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the likelier class as the answer; the sets have another threshold."""
    return rows.assign(y_pred=(rows["y_pred_proba"] > 0.5).astype(int))


def cbpe(
    reference: pd.DataFrame, analysis: pd.DataFrame, problem: str, **columns: Any
) -> list[dict[str, float]]:
    """Estimates of each chunk of rows, by name."""
    metrics = ["accuracy", "f1", "roc_auc"]
    estimator = nannyml.CBPE(
        problem_type=problem, metrics=metrics, chunk_size=CHUNK, **columns
    ).fit(reference)
    result = estimator.estimate(analysis).filter(period="analysis").to_df()
    return [
        {metric: float(result[metric, "value"][chunk]) for metric in metrics}
        | {"error": float(result["accuracy", "sampling_error"][chunk])}
        for chunk in range(len(result))
    ]


def dle(reference: pd.DataFrame, analysis: pd.DataFrame, **columns: Any) -> list[dict[str, float]]:
    """Estimated errors of each chunk of rows."""
    metrics = ["mae", "rmse"]
    estimator = nannyml.DLE(metrics=metrics, chunk_size=CHUNK, **columns).fit(reference)
    result = estimator.estimate(analysis).filter(period="analysis").to_df()
    return [
        {metric: float(result[metric, "value"][chunk]) for metric in metrics}
        | {"error": float(result["mae", "sampling_error"][chunk])}
        for chunk in range(len(result))
    ]


def main() -> None:
    warnings.simplefilter("ignore")
    arrays: dict[str, Any] = {}
    golden: dict[str, Any] = {"nannyml": nannyml.__version__, "chunk": CHUNK}

    def keep(name: str, chances: Any, labels: Any, analysis: Any, truth: Any) -> None:
        arrays[f"{name}_reference"], arrays[f"{name}_labels"] = chances, labels
        arrays[f"{name}_analysis"], arrays[f"{name}_truth"] = analysis, truth

    loans, later, truth = nannyml.load_synthetic_car_loan_dataset()
    reference, analysis = (choose(rows) for rows in (loans[:REFERENCE], later[-ANALYSIS:]))
    golden["loans"] = cbpe(
        *(reference, analysis, "classification_binary"),
        y_pred_proba="y_pred_proba",
        y_pred="y_pred",
        y_true="repaid",
    )
    keep(
        "loans",
        *(reference["y_pred_proba"], reference["repaid"], analysis["y_pred_proba"]),
        truth["repaid"][-ANALYSIS:],
    )
    cards, later, truth = nannyml.load_synthetic_multiclass_classification_dataset()
    columns = [f"y_pred_proba_{name}" for name in CLASSES]
    reference, analysis = (
        rows.assign(y_pred=[CLASSES[place] for place in rows[columns].to_numpy().argmax(axis=1)])
        for rows in (cards[:REFERENCE], later[-ANALYSIS:])
    )
    golden["cards"] = cbpe(
        *(reference, analysis, "classification_multiclass"),
        y_pred_proba=dict(zip(CLASSES, columns, strict=True)),
        y_pred="y_pred",
        y_true="y_true",
    )
    keep(
        "cards",
        reference[columns],
        reference["y_true"].map(CLASSES.index),
        analysis[columns],
        truth["y_true"][-ANALYSIS:].map(CLASSES.index),
    )
    houses, later, truth = nannyml.load_modified_california_housing_dataset()
    reference, analysis = (choose(rows) for rows in (houses[:REFERENCE], later[-ANALYSIS:]))
    golden["houses"] = cbpe(
        *(reference, analysis, "classification_binary"),
        y_pred_proba="y_pred_proba",
        y_pred="y_pred",
        y_true="clf_target",
    )
    keep(
        "houses",
        *(reference["y_pred_proba"], reference["clf_target"], analysis["y_pred_proba"]),
        truth["clf_target"][-ANALYSIS:],
    )
    cars, later, truth = nannyml.load_synthetic_car_price_dataset()
    reference, analysis = cars[:REFERENCE], later[-ANALYSIS:]
    golden["cars"] = dle(
        reference, analysis, feature_column_names=list(CARS), y_pred="y_pred", y_true="y_true"
    )
    fuels = sorted(set(reference["fuel"]))
    gears = sorted(set(reference["transmission"]))

    def encode(frame: pd.DataFrame) -> Any:
        """Features and prediction as numbers: categories by their places."""
        coded = frame.assign(
            fuel=frame["fuel"].map(fuels.index), transmission=frame["transmission"].map(gears.index)
        )
        return coded[[*CARS, "y_pred"]]

    keep(
        "cars",
        *(encode(reference), reference["y_true"], encode(analysis)),
        truth["y_true"][-ANALYSIS:],
    )
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    np.savez_compressed(
        HERE / "rows.npz", **{name: np.asarray(values) for name, values in arrays.items()}
    )


if __name__ == "__main__":
    main()
