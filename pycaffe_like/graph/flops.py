"""Counts the arithmetic of a net's forward pass: additions and multiplications, 2 for each multiply-add.

A rule is one function under `@counts(types...)`. Types without a rule do one operation for each value they
make.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from .nodes import Graph, Node

Rule = Callable[[Node], int]

_rules: dict[str, Rule] = {}


def counts(*types: str) -> Callable[[Rule], Rule]:
    """Register a rule for layer types."""

    def register(rule: Rule) -> Rule:
        for name in types:
            _rules[name] = rule
        return rule

    return register


def forward_flops(graph: Graph) -> int:
    """Operations of one forward pass of the whole batch."""
    return sum(node_flops(node) for node in graph.nodes)


def node_flops(node: Node) -> int:
    """Operations of one layer."""
    return _rules.get(node.definition.type, _one_for_each_value)(node)


def _top_count(node: Node) -> int:
    return sum(prod(top.shape) for top in node.tops)


def _bottom_count(node: Node) -> int:
    return sum(prod(bottom.shape) for bottom in node.bottoms)


def _one_for_each_value(node: Node) -> int:
    return _top_count(node)


@counts(
    "Data",
    "DummyData",
    "Flatten",
    "HDF5Data",
    "ImageData",
    "Input",
    "MemoryData",
    "Reshape",
    "Silence",
    "Slice",
)
@counts("BatchReindex", "Concat", "Crop", "Embed", "Filter", "Im2col", "Parameter", "Python", "Split", "Tile")
def _moves_data(node: Node) -> int:
    return 0


@counts("Dropout")
def _dropout(node: Node) -> int:
    return _top_count(node) if node.definition.training else 0


@counts("Convolution", "InnerProduct")
def _matrix(node: Node) -> int:
    """Each output is a sum of as many products as there are weights for one output channel."""
    channels = -1 if node.definition.type == "InnerProduct" else 1
    weights: int = node.params[0].blob.count // node.tops[0].shape[channels]
    products = 2 * _top_count(node) * weights
    return products + (_top_count(node) if len(node.params) > 1 else 0)


@counts("Deconvolution")
def _deconvolution(node: Node) -> int:
    """Each input is multiplied with the weights of its channel."""
    blob = node.params[0].blob
    weights: int = blob.count // blob.shape[0]
    products = 2 * _bottom_count(node) * weights
    return products + (_top_count(node) if len(node.params) > 1 else 0)


@counts("LSTM", "RNN")
def _recurrent(node: Node) -> int:
    """Every weight matrix is used once for each step and item."""
    steps_and_items = prod(node.bottoms[0].shape[:2])
    weights: int = sum(param.blob.count for param in node.params if len(param.blob.shape) == 2)
    return 2 * steps_and_items * weights


@counts("Pooling")
def _pooling(node: Node) -> int:
    """One operation for each value in a window."""
    param = node.definition.message.pooling_param
    if param.global_pooling:
        return _bottom_count(node)
    window: int = (param.kernel_h or param.kernel_size) * (param.kernel_w or param.kernel_size)
    return prod(node.tops[0].shape) * window


@counts("LRN")
def _lrn(node: Node) -> int:
    """Square each value, sum over the window, take a power and multiply."""
    param = node.definition.message.lrn_param
    window: int = param.local_size if param.norm_region == 0 else param.local_size**2
    return _top_count(node) * (window + 3)


@counts("Eltwise")
def _eltwise(node: Node) -> int:
    return _top_count(node) * (len(node.bottoms) - 1)


@counts("BatchNorm", "Scale")
def _two_for_each_value(node: Node) -> int:
    return 2 * _top_count(node)


@counts("MVN", "Softmax", "SoftmaxWithLoss")
def _normalised(node: Node) -> int:
    """Maximum or mean, difference, exponential or square, sum, division."""
    return 5 * (prod(node.bottoms[0].shape))
