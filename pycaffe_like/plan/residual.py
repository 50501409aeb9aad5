"""Fusion pass for nets that only test: the sum at the end of a residual block is the convolution's before it.

The convolution's own top is then never made, so this is for plans that do not keep their data.
"""

from __future__ import annotations

from ..graph.nodes import Graph, Node
from .remake import remake


def fuse_sums(graph: Graph) -> Graph:
    """Let convolutions add the other bottom of an Eltwise sum that follows them at once."""
    readers: dict[object, int] = {}
    for node in graph.nodes:
        for value in node.bottoms:
            readers[value] = readers.get(value, 0) + 1
    nodes: list[Node] = []
    for node in graph.nodes:
        if nodes and _can_add(nodes[-1], node) and readers[nodes[-1].tops[0]] == 1:
            nodes[-1] = _join(nodes[-1], node)
        else:
            nodes.append(node)
    graph.nodes = nodes
    return graph


def _can_add(convolution: Node, eltwise: Node) -> bool:
    """Whether the sum can be the convolution's; a ReLU or a loss in between makes it another sum."""
    if convolution.definition.type != "Convolution" or eltwise.definition.type != "Eltwise":
        return False
    param = eltwise.definition.message.eltwise_param
    plain_sum = param.operation == param.SUM and all(factor == 1 for factor in param.coeff)
    return (
        plain_sum
        and len(eltwise.bottoms) == 2
        and eltwise.bottoms.count(convolution.tops[0]) == 1
        and len(convolution.bottoms) == 1
        and not (convolution.arguments or {}).get("relu")
        and convolution.tops[0].memory_of is None
        and not (convolution.need_backward or any(convolution.loss_weights))
        and not (eltwise.need_backward or any(eltwise.loss_weights))
    )


def _join(convolution: Node, eltwise: Node) -> Node:
    addend = next(value for value in eltwise.bottoms if value is not convolution.tops[0])
    relu = bool((eltwise.arguments or {}).get("relu"))
    joined = remake(convolution, [eltwise], addend=True, relu=relu)
    joined.bottoms = [*convolution.bottoms, addend]
    joined.propagate_down = [False, False]
    joined.tops = eltwise.tops
    joined.loss_weights = eltwise.loss_weights
    return joined
