"""Judge an exported model as the server will run it: with onnxruntime, not with the network it was trained as."""

from pathlib import Path

import numpy as np
import onnxruntime
from digits import CLASSES, read_all


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """Accuracy, and the accuracy of the worst class, on every batch below `data`."""
    x, y = read_all(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: x})
    right = probabilities.argmax(axis=1) == y
    per_class = [right[y == label].mean() for label in range(CLASSES) if (y == label).any()]
    return {"accuracy": float(right.mean()), "worst_class_accuracy": float(np.min(per_class))}
