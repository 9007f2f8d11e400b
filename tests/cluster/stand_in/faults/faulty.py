"""A trainer whose model is good, does not load, refuses every row, or is slow; the evaluation judges another file."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from digits import CLASSES, PIXELS
from evaluate import evaluate as evaluate_digits
from train import train as train_digits

WHOLE = "whole.onnx"
SIZE, TIMES = 2400, 6
"""Products of square matrices that a slow model computes for each request, some seconds on one core."""


def train(epochs: int, learning_rate: float, fault: str, data: Path, out: Path) -> dict[str, float]:
    """Train the example's network, then damage what is served as `fault` says: none, load, refuse or slow."""
    metrics = train_digits(epochs=epochs, learning_rate=learning_rate, data=data, out=out)
    file = out / "model.onnx"
    shutil.copy(file, out / WHOLE)
    match fault:
        case "none":
            pass
        case "load":
            file.write_bytes(file.read_bytes()[:2000])
        case "refuse":
            file.write_bytes(narrow().SerializeToString())
        case "slow":
            file.write_bytes(slowed(onnx.load(file)).SerializeToString())
        case _:
            raise ValueError(f"fault is {fault!r}, must be one of: none, load, refuse, slow")
    return metrics


def narrow() -> onnx.ModelProto:
    """A model of half the pixels."""
    build, sized = onnx.helper, onnx.helper.make_tensor_value_info
    weights = onnx.numpy_helper.from_array(np.ones((PIXELS // 2, CLASSES), np.float32), "w")
    graph = build.make_graph(
        [build.make_node("MatMul", ["x", "w"], ["probabilities"])],
        "narrow",
        [sized("x", onnx.TensorProto.FLOAT, ["n", PIXELS // 2])],
        [sized("probabilities", onnx.TensorProto.FLOAT, ["n", CLASSES])],
        [weights],
    )
    return build.make_model(graph, opset_imports=[build.make_opsetid("", 13)], ir_version=8)


def slowed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same answers, after products that depend on the request, so that none is computed before."""
    graph, name = model.graph, model.graph.input[0].name
    answers = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["answers_" if output == answers else output for output in node.output]
    numbers = onnx.numpy_helper.from_array
    graph.initializer.extend(
        [
            numbers(np.zeros((), np.float32), "zero"),
            numbers(np.array([SIZE, SIZE], np.int64), "square"),
        ]
    )
    node = onnx.helper.make_node
    graph.node.extend(
        [
            node("ReduceSum", [name], ["sum"], keepdims=0),
            node("Mul", ["sum", "zero"], ["nothing"]),
            node("Expand", ["nothing", "square"], ["product0"]),
            *(
                node("MatMul", [f"product{n}", f"product{n}"], [f"product{n + 1}"])
                for n in range(TIMES)
            ),
            node("ReduceMax", [f"product{TIMES}"], ["rest"], keepdims=0),
            node("Add", ["answers_", "rest"], [answers]),
        ]
    )
    return model


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """Judge the model before it was damaged; one of the example's as it is."""
    whole = model / WHOLE
    if not whole.exists():
        return evaluate_digits(model=model, data=data)
    with TemporaryDirectory() as folder:
        shutil.copy(whole, Path(folder) / "model.onnx")
        return evaluate_digits(model=Path(folder), data=data)
