"""The model as Seldon serves it: rows of features in, a probability for each class out."""

from pathlib import Path
from typing import Any

import numpy as np


class Model:
    """`model_uri` is the folder the model was fetched into."""

    def __init__(self, model_uri: str = "/mnt/models") -> None:
        with np.load(Path(model_uri) / "model.npz") as arrays:
            self.parts = {name: arrays[name] for name in arrays.files}

    def predict(
        self, rows: np.ndarray, names: list[str] | None = None, meta: dict[str, Any] | None = None
    ) -> np.ndarray:
        try:
            rows = (np.asarray(rows, dtype=float) - self.parts["mean"]) / self.parts["spread"]
        except (TypeError, ValueError) as error:
            # the sender's mistake: a 400; anything else would count as the model's
            from seldon_core.flask_utils import SeldonMicroserviceException

            raise SeldonMicroserviceException(
                f"the rows are not numbers: {error}", reason="BAD_ROWS"
            ) from error
        scores = rows @ self.parts["weights"] + self.parts["bias"]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares
