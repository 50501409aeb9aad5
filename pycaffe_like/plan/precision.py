"""Precision pass: in a bfloat16 plan, matrix layers and what follows them work on bfloat16 activations.

Learned blobs, statistics and whatever is exact (labels, indices, boxes, losses) stay float32, and so does
what a layer type says is faster so. What has met no matrix layer is not rounded either, unless one reads it.
"""

from __future__ import annotations

from ..errors import ConfigError
from ..graph.nodes import Graph, Node
from .conversion import convert_bottom
from .remake import remake


def assign_precision(graph: Graph, precision: str, device: str) -> Graph:
    """Give every value its element type.

    Parameters
    ----------
    graph : Graph
        Changed and returned.
    precision : {"float32", "tf32", "bfloat16"}
        What matrix layers compute in.
    device : {"cpu", "cuda"}
        Where the net runs; "tf32" is the GPU's.

    Raises
    ------
    ConfigError
        For any other precision.
    """
    known = ("float32", "bfloat16") if device == "cpu" else ("float32", "tf32", "bfloat16")
    if precision not in known:
        raise ConfigError(f"precision must be {' or '.join(known)}, got {precision!r}")
    if precision == "float32":
        return graph
    if precision == "tf32":
        return _round_factors(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        dtype = _dtype(node)
        for index, value in enumerate(node.bottoms):
            wanted = "float32" if node.kind.bottom(index).exact else dtype
            if value.dtype != wanted:
                convert_bottom(nodes, node, index, layout=value.layout, dtype=wanted)
        for index, top in enumerate(node.tops):
            top.dtype = "float32" if node.kind.top(index).exact else dtype
        nodes.append(node)
    graph.nodes = nodes
    return graph


def _round_factors(graph: Graph) -> Graph:
    """Let matrix layers use tensor cores on float32 blobs."""
    graph.nodes = [
        remake(node, tf32=True) if node.kind.precision == "matrix" and node.layer.device == "cuda" else node
        for node in graph.nodes
    ]
    return graph


def _precision(node: Node) -> str:
    if not node.bottoms or node.layer.device != "cpu":
        return node.kind.precision  # what more is known is about processors
    return node.kind.precision_of(node.definition, node.bottoms[0].shape, learns=node.need_backward)


def _dtype(node: Node) -> str:
    """What a node computes in. One that takes any type does not round what only some of its bottoms are."""
    precision = _precision(node)
    if precision != "any":
        return "bfloat16" if precision == "matrix" else "float32"
    rounded = [
        value.dtype == "bfloat16"
        for index, value in enumerate(node.bottoms)
        if not node.kind.bottom(index).exact
    ]
    return "bfloat16" if rounded and all(rounded) else "float32"
