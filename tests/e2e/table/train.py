"""Which flights are late: a bound on the departure's delay, learnt from .csv files with text and gaps."""

import csv
import json
from pathlib import Path


def read_all(folder: Path) -> list[dict[str, str]]:
    """Return all rows below a folder."""
    rows: list[dict[str, str]] = []
    for file in sorted(folder.rglob("*.csv")):
        with file.open(newline="") as lines:
            rows += csv.DictReader(lines)
    return rows


def is_late(row: dict[str, str], bound: float) -> bool:
    """Say late for a long delay, and for a flight that never left."""
    return row["dep_delay"] == "" or float(row["dep_delay"]) > bound


def measure(rows: list[dict[str, str]], bound: float) -> float:
    """Return the share of rows that a bound gets right."""
    return sum(is_late(row, bound) == (row["late"] == "1") for row in rows) / len(rows)


def train(data: Path, out: Path) -> dict[str, float]:
    """Choose the best bound."""
    rows = read_all(data)
    bound = max(range(0, 40), key=lambda bound: measure(rows, bound))
    (out / "model.json").write_text(json.dumps({"bound": bound, "rows": len(rows)}))
    return {"train_accuracy": measure(rows, bound)}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """Return the accuracy on held-out rows."""
    return {
        "accuracy": measure(read_all(data), json.loads((model / "model.json").read_text())["bound"])
    }
