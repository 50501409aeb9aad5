"""Precision pass: in a bfloat16 plan, matrix layers and what follows them work on bfloat16 activations.

Learned blobs, statistics and whatever is exact (labels, indices, boxes, losses) stay float32, and so does
what a layer type says is faster so. What has met no matrix layer is not rounded either, unless one reads it.
"""

from __future__ import annotations

from ...errors import ConfigError
from ...graph.nodes import Graph, Node
from ..chain import Pass
from ..conversion import convert_bottom
from ..edit import edit, takes
from ..options import NetOptions


def assign_precision(graph: Graph, options: NetOptions) -> Graph:
    """Give every value its element type.

    Raises
    ------
    ConfigError
        For a precision that there is not on this device.
    """
    precision, device = options.precision, options.device
    known = ("float32", "tf32", "bfloat16") if device == "cuda" else ("float32", "bfloat16")
    if precision not in known:
        raise ConfigError(f"precision must be {' or '.join(known)}, got {precision!r}")
    if precision == "float32":
        return graph
    if precision == "tf32":
        return _round_factors(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        dtype = _dtype(node)
        for index, (value, fact) in enumerate(zip(node.bottoms, node.bottom_facts)):
            wanted = "float32" if fact.exact else dtype
            if value.dtype != wanted:
                convert_bottom(nodes, node, index, layout=value.layout, dtype=wanted)
        for top, top_fact in zip(node.tops, node.top_facts):
            top.dtype = "float32" if top_fact.exact else dtype
        nodes.append(node)
    graph.nodes = nodes
    return graph


def _round_factors(graph: Graph) -> Graph:
    """Let matrix layers use tensor cores on float32 blobs."""
    graph.nodes = [edit(node, tf32=True) if takes(node, "tf32") else node for node in graph.nodes]
    return graph


def _precision(node: Node) -> str:
    if not node.bottoms or node.device != "cpu":
        return node.kind.precision  # what more is known is about processors
    return node.kind.precision_of(node.definition, node.bottoms[0].shape, learns=node.need_backward)


def _dtype(node: Node) -> str:
    """What a node computes in. One that takes any type does not round what only some of its bottoms are."""
    precision = _precision(node)
    if precision != "any":
        return "bfloat16" if precision == "matrix" else "float32"
    rounded = [
        value.dtype == "bfloat16" for value, fact in zip(node.bottoms, node.bottom_facts) if not fact.exact
    ]
    return "bfloat16" if rounded and all(rounded) else "float32"


PASS = Pass(
    "precision",
    "activations are bfloat16 where that was asked for",
    assign_precision,
    after="winograd",
)
