"""The model as Seldon serves it: rows of features in, a probability for each class out."""

from pathlib import Path

import numpy as np
import onnxruntime
from seldon_core.flask_utils import SeldonMicroserviceException


class Tumours:
    """`model_uri` is the folder the model was fetched into."""

    def __init__(self, model_uri: str = "/mnt/models") -> None:
        self._file = Path(model_uri) / "model.onnx"
        self._session: onnxruntime.InferenceSession | None = None

    def load(self) -> None:
        """Called by Seldon in each worker, after the fork: an onnxruntime session does not survive one."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self._file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]

    def class_names(self) -> list[str]:
        return ["benign", "malignant"]

    def predict(self, X: np.ndarray, names: list[str] | None = None, meta: dict | None = None) -> np.ndarray:  # noqa: N803
        if self._session is None:
            self.load()
        columns = self._input.shape[1]
        try:
            rows = np.asarray(X, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise SeldonMicroserviceException("rows must be numbers", status_code=400, reason="BAD_ROWS") from error
        if rows.ndim != 2 or rows.shape[1] != columns or not np.isfinite(rows).all():
            message = f"rows are {rows.shape}, must be finite and (n, {columns})"
            raise SeldonMicroserviceException(message, status_code=400, reason="BAD_ROWS")
        return self._session.run(None, {self._input.name: rows})[1]
