"""Precision pass: in a bfloat16 plan, matrix layers and what follows them work on bfloat16 activations.

Learned blobs, statistics, labels and losses stay float32, and so does what a layer type says is faster so.
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
        wanted = _precision(node)
        dtype = _dtype(node, wanted)
        if wanted != "float32":
            for index, value in enumerate(node.bottoms):
                if value.dtype != dtype:
                    convert_bottom(nodes, node, index, layout=value.layout, dtype=dtype)
        for top in node.tops:
            top.dtype = dtype
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


def _dtype(node: Node, precision: str) -> str:
    if precision == "matrix":
        return "bfloat16"
    if precision == "any" and any(value.dtype == "bfloat16" for value in node.bottoms):
        return "bfloat16"
    return "float32"
