"""Residual pass: the sum at the end of a residual block becomes part of the step before it.

In a net that only tests that is a convolution; in training on a GPU a BatchNorm, which is limited by memory
there and so adds for free. The step's own top is then never made, so this is for plans that do not keep data.
"""

from __future__ import annotations

from ...graph.nodes import Graph, Node, Value
from ..chain import Pass
from ..edit import edit, takes
from ..options import NetOptions


def fuse_sums(graph: Graph, options: NetOptions) -> Graph:
    """Let a step add the other bottom of a sum that follows it at once."""
    if options.keep_data:
        return graph
    readers: dict[Value, int] = {}
    for node in graph.nodes:
        for value in node.bottoms:
            readers[value] = readers.get(value, 0) + 1
    nodes: list[Node] = []
    for node in graph.nodes:
        if nodes and _adds(nodes[-1], node) and readers[nodes[-1].tops[0]] == 1:
            nodes[-1] = _join(nodes[-1], node)
        else:
            nodes.append(node)
    graph.nodes = nodes
    return graph


def _adds(node: Node, following: Node) -> bool:
    """Whether the step can add to its own top what the following one adds; a loss in between must be seen."""
    work = following.kind.work(following)
    return (
        "addend" in work
        and takes(node, *work)
        and not any([*node.loss_weights, *following.loss_weights])
        and node.tops[0].memory_of is None
        and following.bottoms.count(node.tops[0]) == 1
        and following.need_backward == node.need_backward
        and following.device == node.device
    )


def _join(node: Node, sum_: Node) -> Node:
    own = sum_.bottoms.index(node.tops[0])
    joined = edit(node, [sum_], **sum_.kind.work(sum_))
    joined.bottoms = [*node.bottoms, sum_.bottoms[1 - own]]
    joined.propagate_down = [*node.propagate_down, sum_.propagate_down[1 - own]]
    joined.tops = sum_.tops
    joined.loss_weights = sum_.loss_weights
    return joined


PASS = Pass(
    "residual",
    "a step adds the rest of the sum that follows it, where the data between is not kept",
    fuse_sums,
    after="fusion",
    joins=True,
)
