"""ReLU and pooling pass: max pooling masks the gradient of the ReLU that is fused into the layer below it.

The gradient of a max pooling is zero except at maxima, and a maximum was clipped exactly if the pooled value
is not positive. Pooling knows that in forward; so the layer below need not mask its gradient, which costs
three passes over a large map, nor keep its top for it.

The pooling's layer is made anew, and its notes of forward with it, so this is for plans that keep no blobs:
there nobody runs backward through layers that were taken apart after forward.
"""

from __future__ import annotations

from ...graph.nodes import Graph, Node, Value
from ..chain import Pass
from ..edit import edit, takes
from ..options import NetOptions


def mask_in_pooling(graph: Graph, options: NetOptions) -> Graph:
    """Let max pooling mask for the layer below, where it alone reads a map that a fused ReLU has clipped."""
    if options.keep_data or options.keep_diffs:
        return graph
    readers: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.bottoms:
            readers.setdefault(value, []).append(node)
    changed: dict[Node, Node] = {}
    for node in graph.nodes:
        above = readers.get(node.tops[0], []) if node.tops else []
        if len(above) == 1 and _masks(node) and takes(above[0], "relu_below"):
            changed[node] = edit(node, relu_backward=False)
            changed[above[0]] = edit(above[0], relu_below=True)
    graph.nodes = [changed.get(node, node) for node in graph.nodes]
    return graph


def _masks(node: Node) -> bool:
    return takes(node, "relu_backward") and node.need_backward and not any(node.loss_weights)


PASS = Pass(
    "relu_pooling",
    "max pooling masks the gradient for the ReLU below it, where no blob is kept",
    mask_in_pooling,
    after="residual",
)
