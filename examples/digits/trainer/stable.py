"""An exported model with the same bytes each time: tf2onnx numbers its values in the order of a set of objects, which is
another one in each process."""

from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto


def rewrite_model(file: Path) -> None:
    """Name the values of a model by their place on the way from its outputs, and order its parts by it."""
    model = onnx.load(file)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []

    def visit(name: str) -> None:
        if name in makers:
            node = makers.pop(name)
            for output in node.output:
                makers.pop(output, None)
            for source in node.input:
                visit(source)
            nodes.append(node)
            node.name = f"{node.op_type}_{len(nodes)}"
            for number, output in enumerate(node.output):
                names.setdefault(output, f"{node.name}_{number}")
        elif name in constants:
            tensors.append(constants.pop(name))
            names.setdefault(name, f"constant_{len(tensors)}")

    for output in graph.output:
        visit(output.name)
    for node in nodes:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
    for tensor in tensors:
        tensor.name = names[tensor.name]
    for part, content in ((graph.node, nodes), (graph.initializer, tensors)):
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in content]
        del part[:]
        part.extend(copies)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))
