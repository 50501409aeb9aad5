"""ReLU and pooling pass: max pooling masks the gradient of the ReLU that is fused into the layer below it.

The gradient of a max pooling is zero except at maxima, and a maximum was clipped exactly if the pooled value
is not positive. Pooling knows that in forward; so the layer below need not mask its gradient, which costs
three passes over a large map, nor keep its top for it.

The pooling's layer is made anew, and its notes of forward with it, so this is for plans that keep no blobs:
there nobody runs backward through layers that were taken apart after forward.
"""

from __future__ import annotations

from ..graph.nodes import Graph, Node, Value
from .remake import remake


def mask_in_pooling(graph: Graph) -> Graph:
    """Let max pooling mask for the layer below, where it alone reads a map that a fused ReLU has clipped."""
    readers: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.bottoms:
            readers.setdefault(value, []).append(node)
    changed: dict[Node, Node] = {}
    for node in graph.nodes:
        above = readers.get(node.tops[0], []) if node.tops else []
        if _masks(node) and len(above) == 1 and _can_mask(above[0]):
            changed[node] = remake(node, relu_backward=False)
            changed[above[0]] = remake(above[0], relu_below=True)
    graph.nodes = [changed.get(node, node) for node in graph.nodes]
    return graph


def _masks(node: Node) -> bool:
    arguments = node.arguments or {}
    clips = arguments.get("relu") and "relu_backward" in arguments
    return bool(clips and node.need_backward and not any(node.loss_weights))


def _can_mask(node: Node) -> bool:
    """Whether a step is a MAX pooling that gives a gradient; the places in a second top are of all maxima."""
    if node.definition.type != "Pooling":
        return False
    param = node.definition.message.pooling_param
    return bool(param.pool == param.MAX and len(node.tops) == 1 and node.propagate_down[0])
