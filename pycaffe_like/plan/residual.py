"""Residual pass: the sum at the end of a residual block becomes part of the step before it.

In a net that only tests that is a convolution; in training on a GPU a BatchNorm, which is limited by memory
there and so adds for free. The step's own top is then never made, so this is for plans that do not keep data.
"""

from __future__ import annotations

from typing import ClassVar

from ..facts import Reads
from ..graph.nodes import Graph, Node
from ..layers.batch_norm import BatchNorm
from .remake import remake


class _BatchNormWithSum(BatchNorm):
    """Its ReLU's mask is that of the sum, which is no function of the bottom alone."""

    backward_reads: ClassVar = Reads(bottoms=True, tops=True)


def fuse_sums(graph: Graph) -> Graph:
    """Let a step add the other bottom of an Eltwise sum that follows it at once."""
    readers: dict[object, int] = {}
    for node in graph.nodes:
        for value in node.bottoms:
            readers[value] = readers.get(value, 0) + 1
    nodes: list[Node] = []
    for node in graph.nodes:
        if (
            nodes
            and _takes_sum(nodes[-1])
            and _is_sum_with(nodes[-1], node)
            and readers[nodes[-1].tops[0]] == 1
        ):
            nodes[-1] = _join(nodes[-1], node)
        else:
            nodes.append(node)
    graph.nodes = nodes
    return graph


def _takes_sum(node: Node) -> bool:
    """Whether the layer can add a bottom; a ReLU or a loss in between makes it another sum."""
    if node.definition.type == "BatchNorm":
        fits = node.layer.device == "cuda" and node.propagate_down == [True]
    else:
        fits = node.definition.type == "Convolution" and len(node.bottoms) == 1 and not node.need_backward
    clips = (node.arguments or {}).get("relu")
    return fits and not (clips or any(node.loss_weights) or node.tops[0].memory_of)


def _is_sum_with(node: Node, eltwise: Node) -> bool:
    if eltwise.definition.type != "Eltwise" or any(eltwise.loss_weights):
        return False
    param = eltwise.definition.message.eltwise_param
    return (
        param.operation == param.SUM
        and all(factor == 1 for factor in param.coeff)
        and len(eltwise.bottoms) == 2
        and eltwise.bottoms.count(node.tops[0]) == 1
        and eltwise.need_backward == node.need_backward
        and eltwise.layer.device == node.layer.device
    )


def _join(node: Node, eltwise: Node) -> Node:
    own = eltwise.bottoms.index(node.tops[0])
    joined = remake(node, [eltwise], addend=True, relu=bool((eltwise.arguments or {}).get("relu")))
    if node.definition.type == "BatchNorm":
        joined.kind = _BatchNormWithSum
    joined.bottoms = [*node.bottoms, eltwise.bottoms[1 - own]]
    joined.propagate_down = [*node.propagate_down, eltwise.propagate_down[1 - own]]
    joined.tops = eltwise.tops
    joined.loss_weights = eltwise.loss_weights
    return joined
