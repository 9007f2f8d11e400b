"""A random forest for rows of a table, trained with scikit-learn and written as ONNX."""

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

LABEL = "y"


def read_all(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All rows below a folder: features (n, columns) float32 and labels (n,) int64. ValueError names a wrong file."""
    rows: list[list[float]] = []
    labels: list[int] = []
    header: list[str] | None = None
    for file in sorted(folder.rglob("*.csv")):
        with file.open(newline="") as lines:
            reader = csv.DictReader(lines)
            columns = [name for name in reader.fieldnames or () if name != LABEL]
            if header not in (None, columns) or LABEL not in (reader.fieldnames or ()):
                raise ValueError(
                    f"{file.name}: columns are {reader.fieldnames}, must be {[*(header or columns), LABEL]}"
                )
            header = columns
            for row in reader:
                rows.append([float(row[name]) for name in columns])
                labels.append(int(row[LABEL]))
    if not rows:
        raise ValueError(f"no rows in the .csv files of {folder}")
    return np.asarray(rows, np.float32), np.asarray(labels, np.int64)


def train(trees: int, depth: int, data: Path, out: Path) -> dict[str, float]:
    """Train on every row below `data`; write `out/model.onnx`."""
    x, y = read_all(data)
    x_fit, x_check, y_fit, y_check = train_test_split(
        x, y, test_size=0.2, random_state=7, stratify=y
    )
    forest = RandomForestClassifier(trees, max_depth=depth, random_state=7).fit(x_fit, y_fit)
    metrics = {
        "train_accuracy": float(forest.score(x_fit, y_fit)),
        "validation_accuracy": float(forest.score(x_check, y_check)),
    }
    print(json.dumps({"rows": len(x), **metrics}), flush=True)
    exported = to_onnx(forest, x[:1], options={"zipmap": False})
    (out / "model.onnx").write_bytes(exported.SerializeToString())
    return metrics


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """Judge the exported model as the server will run it; `recall` is of class 1."""
    x, y = read_all(data)
    session = onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])
    probabilities = session.run(None, {session.get_inputs()[0].name: x})[1]
    said = probabilities.argmax(axis=1)
    metrics = {"accuracy": float((said == y).mean())}
    if (y == 1).any():
        metrics["recall"] = float((said[y == 1] == 1).mean())
    return metrics
