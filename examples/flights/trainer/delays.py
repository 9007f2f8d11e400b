"""How late flights arrive, from what is known when they leave: a scikit-learn pipeline over columns of numbers and text,
with gaps, as a pickle."""

import pickle
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

LABEL = "arr_delay"
NUMBERS = ["dep_delay", "distance", "hour", "temp", "wind_speed", "wind_gust", "pressure", "visib"]
TEXTS = ["carrier", "origin", "dest"]


def read_all(folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    """All flights below a folder that have arrived: what is known of them, and their delay in minutes."""
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    files = sorted(file for file in folder.rglob("*") if file.suffix in readers)
    if not files:
        raise ValueError(f"{folder} contains no .csv or .parquet file")
    rows = pd.concat([readers[file.suffix](file) for file in files], ignore_index=True)
    rows = rows.dropna(subset=LABEL)
    return rows[NUMBERS + TEXTS], rows[LABEL]


def train(alpha: float, data: Path, out: Path) -> dict[str, float]:
    """Train on every flight below `data`; write `out/model.pkl`."""
    x, y = read_all(data)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    texts = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
    columns = make_column_transformer((numbers, NUMBERS), (texts, TEXTS))
    model = make_pipeline(columns, Ridge(alpha)).fit(x, y)
    (out / "model.pkl").write_bytes(
        pickle.dumps({"model": model, "numbers": NUMBERS, "texts": TEXTS})
    )
    return {"train_mae": mean_error(model.predict(x), y)}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """`mae`: how many minutes the answers are wrong on average."""
    x, y = read_all(data)
    return {
        "mae": mean_error(pickle.loads((model / "model.pkl").read_bytes())["model"].predict(x), y)
    }


def mean_error(answers: pd.Series, right: pd.Series) -> float:
    """Mean absolute error."""
    return float(abs(answers - right).mean())
