"""The bound as Seldon serves it: rows by the names of their columns in, probabilities of both answers out."""

import json
from pathlib import Path
from typing import Any


class Model:
    """`model_uri` is the folder the model was fetched into."""

    def __init__(self, model_uri: str = "/mnt/models") -> None:
        self.bound = json.loads((Path(model_uri) / "model.json").read_text())["bound"]

    def predict(self, rows: Any, names: list[str] | None = None, meta: Any = None) -> Any:
        """Answer rows with names."""
        column = list(names or ()).index("dep_delay")
        delays = [row[column] for row in rows]
        late = [delay is None or float(delay) > self.bound for delay in delays]
        return [[1.0 - answer, float(answer)] for answer in late]
