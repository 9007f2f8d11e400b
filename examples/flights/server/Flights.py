"""The model as Seldon serves it: rows with the names of their columns in, a delay in minutes for each out."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from seldon_core.flask_utils import SeldonMicroserviceException


class Flights:
    """`model_uri` is the folder the model was fetched into."""

    def __init__(self, model_uri: str = "/mnt/models") -> None:
        stored = pickle.loads((Path(model_uri) / "model.pkl").read_bytes())
        self._model, self._numbers, self._texts = stored["model"], stored["numbers"], stored["texts"]

    def predict(self, rows: np.ndarray, names: list[str] | None = None, meta: dict[str, Any] | None = None) -> np.ndarray:
        try:
            table = pd.DataFrame(rows, columns=names)[self._numbers + self._texts]
            # rows of numbers and texts come as texts alone where none of them has a gap
            table[self._numbers] = table[self._numbers].astype(float)
        except (KeyError, ValueError, TypeError) as error:
            # the sender's mistake: a 400; anything else would count as the model's
            raise SeldonMicroserviceException(f"the rows can't be read: {error}", reason="BAD_ROWS") from error
        return self._model.predict(table)
