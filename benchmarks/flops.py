"""Floating-point operations of a step: convolutions and inner products, a multiply-add counted as two."""

from __future__ import annotations

import math

from pycaffe_like.graph.nodes import Graph, Node

COUNTED = ("Convolution", "InnerProduct")


def count_flops(graph: Graph) -> int:
    """Count forward, and in training the gradients of the weights and of those bottoms that need one."""
    return sum(_count_node(node, graph.training) for node in graph.nodes if node.definition.type in COUNTED)


def _count_node(node: Node, training: bool) -> int:
    passes = 1 + (1 + node.propagate_down[0] if training else 0)
    weights = math.prod(node.params[0].blob.shape)
    if node.definition.type == "InnerProduct":
        rows = math.prod(node.tops[0].shape[:-1])
        return 2 * weights * rows * passes
    items, _, *places = node.tops[0].shape
    return 2 * weights * items * math.prod(places) * passes
