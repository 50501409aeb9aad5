"""The same deploy net as an ONNX model, one operator a layer: BatchNorm and Scale together are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

from pycaffe_like.graph.nodes import Graph, Node, Param, Value

Arguments = dict[str, Any]

_OPSET, _IR = 17, 8  # old enough for every engine


def write_onnx(graph: Graph) -> bytes:
    """Serialize a net of phase TEST."""
    writer = _Writer()
    for node in graph.nodes:
        if node.definition.type not in _WRITERS:
            raise NotImplementedError(f"layer {node.name!r}: {node.definition.type} is not written as ONNX")
        arguments = node.kind.arguments(node.definition, [value.shape for value in node.bottoms])
        _WRITERS[node.definition.type](writer, node, arguments)
    blobs = graph.blobs()
    model = helper.make_model(
        helper.make_graph(
            writer.operators,
            "net",
            [_describe(writer, blobs[name]) for name in graph.inputs],
            [_describe(writer, blobs[name]) for name in graph.outputs],
            writer.weights,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _describe(writer: _Writer, value: Value) -> Any:
    return helper.make_tensor_value_info(writer.name(value), TensorProto.FLOAT, value.shape)


class _Writer:
    """Collects operators and weights; each version of a blob has a name of its own."""

    def __init__(self) -> None:
        self.operators: list[Any] = []
        self.weights: list[Any] = []
        self.names: dict[Value, str] = {}
        self.makers: dict[Value, Node] = {}

    def name(self, value: Value) -> str:
        return self.names.setdefault(value, f"{value.name}_{len(self.names)}")

    def add(self, kind: str, node: Node, *more: str, **attributes: Any) -> None:
        """Write the operator that makes the node's top of its bottoms and `more`."""
        bottoms = [self.name(value) for value in node.bottoms]
        self.add_raw(kind, [*bottoms, *more], self.name(node.tops[0]), **attributes)
        self.makers[node.tops[0]] = node

    def add_raw(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.operators.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def params(self, node: Node) -> list[str]:
        return [self.constant(_weight_name(param), param.blob.data) for param in node.params]


def _weight_name(param: Param) -> str:
    return f"{param.layer}/{param.index}"


def _input(writer: _Writer, node: Node, arguments: Arguments) -> None:
    return None


def _same(writer: _Writer, node: Node, arguments: Arguments) -> None:
    for top in node.tops:
        writer.names[top] = writer.name(node.bottoms[0])


def _convolution(writer: _Writer, node: Node, arguments: Arguments) -> None:
    writer.add(
        "Conv",
        node,
        *writer.params(node),
        kernel_shape=arguments["kernel"],
        strides=arguments["stride"],
        pads=[*arguments["pad"]] * 2,
        dilations=arguments["dilation"],
        group=arguments["group"],
    )


def _inner_product(writer: _Writer, node: Node, arguments: Arguments) -> None:
    flat = writer.add_raw(
        "Flatten", [writer.name(node.bottoms[0])], f"{node.name}/flat", axis=arguments["axis"]
    )
    top, params = writer.name(node.tops[0]), writer.params(node)
    writer.add_raw("Gemm", [flat, *params], top, transB=int(not arguments["transpose"]))


def _pooling(writer: _Writer, node: Node, arguments: Arguments) -> None:
    kind = {"max": "MaxPool", "average": "AveragePool"}[arguments["method"]]
    if arguments["global"]:
        return writer.add(f"Global{kind}", node)
    divisor = {"count_include_pad": 1} if kind == "AveragePool" and any(arguments["pad"]) else {}
    writer.add(
        kind,
        node,
        kernel_shape=arguments["kernel"],
        strides=arguments["stride"],
        pads=[*arguments["pad"]] * 2,
        ceil_mode=int(arguments["round_up"]),
        **divisor,
    )


def _batch_norm(writer: _Writer, node: Node, arguments: Arguments) -> None:
    mean, variance, factor = (param.blob.data for param in node.params[:3])
    scale = np.float32(1 / factor[0]) if factor[0] else np.float32(0)
    ones, zeros = np.ones_like(mean), np.zeros_like(mean)
    values = {"scale": ones, "shift": zeros, "mean": mean * scale, "variance": variance * scale}
    names = [writer.constant(f"{node.name}/{name}", value) for name, value in values.items()]
    writer.add("BatchNormalization", node, *names, epsilon=arguments["eps"])


def _scale(writer: _Writer, node: Node, arguments: Arguments) -> None:
    """Put the factors into the BatchNormalization before, which is how other formats write the pair."""
    maker = writer.makers.get(node.bottoms[0])
    param = node.definition.message.scale_param
    if maker is None or maker.definition.type != "BatchNorm" or (param.axis, param.num_axes) != (1, 1):
        raise NotImplementedError(f"layer {node.name!r}: only a Scale after BatchNorm is written as ONNX")
    operator = next(op for op in writer.operators if op.output[0] == writer.name(node.bottoms[0]))
    for index, name in enumerate(writer.params(node), start=1):
        operator.input[index] = name
    _same(writer, node, arguments)


def _relu(writer: _Writer, node: Node, arguments: Arguments) -> None:
    slope = node.definition.message.relu_param.negative_slope
    if slope:
        writer.add("LeakyRelu", node, alpha=slope)
    else:
        writer.add("Relu", node)


def _lrn(writer: _Writer, node: Node, arguments: Arguments) -> None:
    size, alpha, beta = arguments["local_size"], arguments["alpha"], arguments["beta"]
    if arguments["within_channel"]:
        return _lrn_within_channel(writer, node, size, alpha, beta)
    writer.add("LRN", node, size=size, alpha=alpha, beta=beta, bias=arguments["k"])


def _lrn_within_channel(writer: _Writer, node: Node, size: int, alpha: float, beta: float) -> None:
    """y = x (1 + alpha mean(x^2)) ^ -beta, for which ONNX has no operator."""
    x = writer.name(node.bottoms[0])
    step = writer.add_raw("Mul", [x, x], f"{node.name}/square")
    window = {"kernel_shape": [size] * 2, "pads": [size // 2] * 4, "count_include_pad": 1}
    step = writer.add_raw("AveragePool", [step], f"{node.name}/mean", **window)
    for kind, value in (("Mul", alpha), ("Add", 1.0), ("Pow", -beta)):
        number = writer.constant(f"{node.name}/{kind}_value", np.float32(value))
        step = writer.add_raw(kind, [step, number], f"{node.name}/{kind}")
    writer.add("Mul", node, step)


def _concat(writer: _Writer, node: Node, arguments: Arguments) -> None:
    writer.add("Concat", node, axis=arguments["axis"])


def _eltwise(writer: _Writer, node: Node, arguments: Arguments) -> None:
    if arguments["operation"] != "SUM" or any(factor != 1 for factor in arguments["coeff"]):
        raise NotImplementedError(f"layer {node.name!r}: only plain sums are written as ONNX")
    writer.add("Add" if len(node.bottoms) == 2 else "Sum", node)


def _softmax(writer: _Writer, node: Node, arguments: Arguments) -> None:
    writer.add("Softmax", node, axis=arguments["axis"])


def _reshape(writer: _Writer, node: Node, arguments: Arguments) -> None:
    writer.add("Reshape", node, writer.constant(f"{node.name}/shape", np.array(node.tops[0].shape)))


_WRITERS: dict[str, Callable[[_Writer, Node, Arguments], None]] = {
    "BatchNorm": _batch_norm,
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": _same,
    "Eltwise": _eltwise,
    "Flatten": _reshape,
    "InnerProduct": _inner_product,
    "Input": _input,
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Reshape": _reshape,
    "Scale": _scale,
    "Softmax": _softmax,
    "Split": _same,
}
