"""Which species a penguin is, from its measures, its island and its sex, with gaps: a scikit-learn forest as a pickle."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

LABEL = "species"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
TEXTS = ["island", "sex"]


def read_all(folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    files = sorted(folder.rglob("*.csv"))
    if not files:
        raise ValueError(f"{folder} contains no .csv file")
    rows = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    return rows[NUMBERS + TEXTS], rows[LABEL]


def train(trees: int, data: Path, out: Path) -> dict[str, float]:
    x, y = read_all(data)
    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="unknown"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = make_column_transformer((SimpleImputer(strategy="median"), NUMBERS), (texts, TEXTS))
    model = make_pipeline(columns, RandomForestClassifier(trees, random_state=0)).fit(x, y)
    (out / "model.pkl").write_bytes(
        pickle.dumps({"model": model, "numbers": NUMBERS, "texts": TEXTS})
    )
    return {"train_accuracy": float(np.mean(model.predict(x) == y))}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    x, y = read_all(data)
    stored = pickle.loads((model / "model.pkl").read_bytes())
    return {"accuracy": float(np.mean(stored["model"].predict(x) == y))}
