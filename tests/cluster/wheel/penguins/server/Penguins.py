"""The model as Seldon serves it: rows with the names of their columns in, the probability of each species out."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
from seldon_core.flask_utils import SeldonMicroserviceException


class Penguins:
    def __init__(self, model_uri="/mnt/models"):
        stored = pickle.loads((Path(model_uri) / "model.pkl").read_bytes())
        self._model, self._numbers, self._texts = (
            stored[part] for part in ("model", "numbers", "texts")
        )

    def class_names(self):
        return list(self._model.classes_)

    def predict(self, rows, names=None, meta=None):
        try:
            table = pd.DataFrame(rows, columns=names)[self._numbers + self._texts]
            table[self._numbers] = table[self._numbers].astype(float)
        except (KeyError, ValueError, TypeError) as error:
            raise SeldonMicroserviceException(
                f"the rows can't be read: {error}", reason="BAD_ROWS"
            ) from error
        table[self._texts] = (
            table[self._texts].astype(object).where(table[self._texts].notna(), np.nan)
        )
        return self._model.predict_proba(table)
