"""The same net in PyTorch, as a good user would have written it.

`torch.fx` turns the graph into a module whose `forward` is straight-line Python, one line a layer: no
interpreter runs between the operations, `torch.compile` can trace it, and locals are dropped after their
last use. It is channels-last, works in place where autograd allows, and has BatchNorm and Scale as one
`nn.BatchNorm2d`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from pycaffe_like.graph.nodes import Graph, Node, Param, Value

Arguments = dict[str, Any]


class Affine(nn.Module):
    """Scale and Bias layers: a factor, a shift, or both, along some axes."""

    def __init__(self, scale: nn.Parameter | None, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.scale, self.bias = scale, bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale is not None:
            x = x * self.scale
        return x if self.bias is None else x + self.bias


def local_response_norm(
    x: torch.Tensor, size: int, alpha: float, beta: float, k: float, within: bool
) -> torch.Tensor:
    """Faster than `F.local_response_norm` on channels-last tensors: its 3-D pooling is slow."""
    if within:
        energy = F.avg_pool2d(x * x, size, 1, size // 2)
    else:
        across = (x * x).permute(0, 2, 3, 1)
        energy = F.avg_pool2d(across, (1, size), 1, (0, size // 2)).permute(0, 3, 1, 2)
    return x * (energy * alpha + k).pow(-beta)


class TorchNet:
    """The module and what its optimiser needs.

    Attributes
    ----------
    module : fx.GraphModule
        Takes the inputs in order; returns the total loss in training, the outputs else.
    multipliers : dict
        (lr_mult, decay_mult) of each parameter.
    params : dict
        The parameter that each learned blob of the graph became, by (layer, index).
    """

    def __init__(self, graph: Graph) -> None:
        builder = _Builder(graph)
        self.module = fx.GraphModule(builder.modules, builder.finish())
        self.module.train(graph.training).to(memory_format=torch.channels_last)
        self.multipliers, self.params = builder.multipliers, builder.params

    def parameter_groups(self, rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """One group for each pair of multipliers."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter, pair in self.multipliers.items():
            groups.setdefault(pair, []).append(parameter)
        return [
            {"params": params, "lr": rate * lr, "weight_decay": weight_decay * decay}
            for (lr, decay), params in groups.items()
        ]


class _Builder:
    """Writes one line of `forward` for each node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.code = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.multipliers: dict[nn.Parameter, tuple[float, float]] = {}
        self.params: dict[tuple[str, int], nn.Parameter] = {}
        self.values: dict[Value, fx.Node] = {}
        self.makers: dict[Value, Node] = {}
        self.readers = {value: node for node in graph.nodes for value in node.bottoms}
        self.losses: list[fx.Node] = []
        for name in graph.inputs:
            self.values[graph.blobs()[name]] = self.code.placeholder(name)
        for node in graph.nodes:
            self.add(node)

    def add(self, node: Node) -> None:
        kind = node.definition.type
        if kind not in _WRITERS:
            raise NotImplementedError(f"layer {node.name!r}: type {kind} has no PyTorch counterpart here")
        if any(param.owner for param in node.params):
            raise NotImplementedError(f"layer {node.name!r}: shared params have no PyTorch counterpart here")
        if kind != "Input":
            arguments = node.kind.arguments(node.definition, [value.shape for value in node.bottoms])
            result = _WRITERS[kind](self, node, arguments)
            self.values.update((top, result) for top in node.tops)
        self.makers.update((top, node) for top in node.tops)

    def finish(self) -> fx.Graph:
        if self.graph.training:
            total = self.losses[0]
            for loss in self.losses[1:]:
                total = self.code.call_function(torch.add, (total, loss))
            self.code.output(total)
        else:
            blobs = self.graph.blobs()
            self.code.output(tuple(self.values[blobs[name]] for name in self.graph.outputs))
        return self.code

    def bottom(self, node: Node, index: int = 0) -> fx.Node:
        return self.values[node.bottoms[index]]

    def module(self, node: Node, module: nn.Module) -> fx.Node:
        """Call a module of the layer's name on its first bottom."""
        name = "".join(char if char.isalnum() else "_" for char in node.name)
        self.modules[name] = module
        return self.code.call_module(name, (self.bottom(node),))

    def function(self, node: Node, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Call a function on the layer's first bottom."""
        return self.code.call_function(function, (self.bottom(node), *args), kwargs)

    def learn(self, parameter: nn.Parameter, param: Param, *, transpose: bool = False) -> nn.Parameter:
        """Take over values and multipliers of a learned blob."""
        values = torch.from_numpy(param.blob.data.copy())
        with torch.no_grad():
            parameter.copy_((values.T if transpose else values).reshape(parameter.shape))
        parameter.requires_grad_(param.lr_mult != 0)
        if parameter.requires_grad:
            self.multipliers[parameter] = (param.lr_mult, param.decay_mult)
        self.params[param.layer, param.index] = parameter
        return parameter


def _convolution(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    module = nn.Conv2d(
        node.bottoms[0].shape[1],
        arguments["num_output"],
        tuple(arguments["kernel"]),
        tuple(arguments["stride"]),
        tuple(arguments["pad"]),
        tuple(arguments["dilation"]),
        arguments["group"],
        arguments["bias_term"],
    )
    for parameter, param in zip((module.weight, module.bias), node.params):
        builder.learn(parameter, param)
    return builder.module(node, module)


def _inner_product(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    bottom, axis = node.bottoms[0], arguments["axis"]
    features = 1
    for size in bottom.shape[axis:]:
        features *= size
    module = nn.Linear(features, arguments["num_output"], arguments["bias_term"])
    builder.learn(module.weight, node.params[0], transpose=arguments["transpose"])
    if arguments["bias_term"]:
        builder.learn(module.bias, node.params[1])
    if len(bottom.shape[axis:]) > 1:
        builder.values[bottom] = builder.function(node, torch.flatten, axis)
    return builder.module(node, module)


def _pooling(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    if arguments["places"] or arguments["method"] == "stochastic":
        raise NotImplementedError(f"layer {node.name!r}: this pooling has no PyTorch counterpart here")
    average = arguments["method"] == "average"
    size = node.bottoms[0].shape[2:]
    if arguments["global"] or (arguments["kernel"] == size and not any(arguments["pad"])):
        return builder.function(node, F.adaptive_avg_pool2d if average else F.adaptive_max_pool2d, 1)
    # Ceil mode and the divisor of border windows are the same in both libraries, but for windows in the void.
    pool = nn.AvgPool2d if average else nn.MaxPool2d
    window = (tuple(arguments[name]) for name in ("kernel", "stride", "pad"))
    module = pool(*window, ceil_mode=arguments["round_up"])
    if list(module(torch.zeros(1, 1, *size)).shape[2:]) != node.tops[0].shape[2:]:
        raise NotImplementedError(f"layer {node.name!r}: PyTorch's pooling makes another shape")
    return builder.module(node, module)


def _batch_norm(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    if builder.graph.training and arguments["use_global_stats"]:
        raise NotImplementedError(f"layer {node.name!r}: training with stored statistics is not written here")
    scale = builder.readers.get(node.tops[0])
    scale_params = scale.params if scale and _is_channel_scale(scale) else []
    affine = node.params[3:] or scale_params
    kind = nn.BatchNorm1d if len(node.bottoms[0].shape) == 2 else nn.BatchNorm2d
    momentum = 1 - arguments["moving_average_fraction"]
    module = kind(node.bottoms[0].shape[1], arguments["eps"], momentum, affine=bool(affine))
    _copy_statistics(module, node.params)
    for parameter, param in zip((module.weight, module.bias), affine):
        builder.learn(parameter, param)
    return builder.module(node, module)


def _copy_statistics(module: nn.BatchNorm1d | nn.BatchNorm2d, params: list[Param]) -> None:
    mean, variance, factor = (torch.from_numpy(param.blob.data.copy()) for param in params[:3])
    if factor.item():
        module.running_mean.copy_(mean / factor)
        module.running_var.copy_(variance / factor)


def _is_channel_scale(node: Node) -> bool:
    param = node.definition.message.scale_param
    kind = node.definition.type
    return kind == "Scale" and len(node.params) == 2 and param.axis == 1 and param.num_axes == 1


def _scale(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    maker = builder.makers[node.bottoms[0]]
    if maker.definition.type == "BatchNorm" and len(maker.params) == 3 and _is_channel_scale(node):
        return builder.bottom(node)  # already part of the BatchNorm2d
    parameters = _broadcast_parameters(builder, node, arguments["axis"])
    return builder.module(node, Affine(parameters[0], parameters[1] if arguments["bias_term"] else None))


def _bias(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    return builder.module(node, Affine(None, _broadcast_parameters(builder, node, arguments["axis"])[0]))


def _broadcast_parameters(builder: _Builder, node: Node, axis: int) -> list[nn.Parameter]:
    if len(node.bottoms) > 1:
        raise NotImplementedError(f"layer {node.name!r}: a factor from a bottom is not written here")
    axes = len(node.bottoms[0].shape)
    trailing = axes - axis % axes - len(node.params[0].blob.shape)
    shapes = [(*param.blob.shape, *[1] * trailing) for param in node.params]
    return [
        builder.learn(nn.Parameter(torch.empty(shape)), param) for shape, param in zip(shapes, node.params)
    ]


def _relu(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    in_place = node.tops[0].memory_of is not None
    slope = node.definition.message.relu_param.negative_slope
    if slope:
        return builder.function(node, F.leaky_relu, slope, inplace=in_place)
    return builder.function(node, F.relu, inplace=in_place)


def _dropout(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    # Not in place: the ReLU before it needs its own output.
    return builder.module(node, nn.Dropout(arguments["dropout_ratio"]))


def _lrn(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    within = arguments["within_channel"]
    coefficients = (arguments["alpha"], arguments["beta"], 1.0 if within else arguments["k"])
    return builder.function(node, local_response_norm, arguments["local_size"], *coefficients, within)


def _concat(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    parts = [builder.values[value] for value in node.bottoms]
    return builder.code.call_function(torch.cat, (parts, arguments["axis"]))


def _eltwise(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    operation, coefficients = arguments["operation"], arguments["coeff"]
    if operation != "SUM" or any(coefficient != 1 for coefficient in coefficients):
        raise NotImplementedError(f"layer {node.name!r}: only plain sums are written here")
    # The sum goes into a bottom whose maker does not need its own output in backward.
    bottoms = sorted(node.bottoms, key=lambda value: not _may_overwrite(builder, value))
    first, *rest = (builder.values[value] for value in bottoms)
    in_place = _may_overwrite(builder, bottoms[0])
    for other in rest:
        if in_place:
            first = builder.code.call_method("add_", (first, other))
        else:
            first = builder.code.call_function(torch.add, (first, other))
        in_place = True
    return first


def _may_overwrite(builder: _Builder, value: Value) -> bool:
    return builder.makers[value].definition.type in ("Convolution", "BatchNorm", "Scale")


def _softmax(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    return builder.function(node, torch.softmax, arguments["axis"])


def _softmax_with_loss(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    if arguments["normalization"] != "valid" or arguments["weighs_classes"] or arguments["axis"] != 1:
        raise NotImplementedError(f"layer {node.name!r}: this loss has no PyTorch counterpart here")
    ignored = arguments["ignore_label"] if arguments["ignores"] else -100
    scores, labels = (builder.values[value] for value in node.bottoms)
    if all(size == 1 for size in node.bottoms[0].shape[2:]):
        scores = builder.code.call_function(torch.flatten, (scores, 1))
    loss = builder.code.call_function(F.cross_entropy, (scores, labels), {"ignore_index": ignored})
    weight = node.loss_weights[0]
    builder.losses.append(loss if weight == 1 else builder.code.call_function(torch.mul, (loss, weight)))
    return loss


def _flatten(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    return builder.function(node, torch.reshape, tuple(node.tops[0].shape))


def _same(builder: _Builder, node: Node, arguments: Arguments) -> fx.Node:
    return builder.bottom(node)


def _nothing(builder: _Builder, node: Node, arguments: Arguments) -> None:
    return None


_WRITERS: dict[str, Callable[[_Builder, Node, Arguments], Any]] = {
    "Accuracy": _nothing,
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": _dropout,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "Input": _nothing,
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Reshape": _flatten,
    "Scale": _scale,
    "Silence": _nothing,
    "Softmax": _softmax,
    "SoftmaxWithLoss": _softmax_with_loss,
    "Split": _same,
}
