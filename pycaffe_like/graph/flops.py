"""Counts the arithmetic of a net's forward pass: additions and multiplications, 2 for each multiply-add."""

from __future__ import annotations

from .nodes import Graph


def forward_flops(graph: Graph) -> int:
    """Operations of one forward pass of the whole batch; each type says its own (`LayerType.flops`)."""
    return sum(node.kind.flops(node) for node in graph.nodes)
