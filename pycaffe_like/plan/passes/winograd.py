"""Winograd pass: convolutions may use Winograd's algorithm, unless it is left out.

Its rounding is not that of direct sums; leaving it out is the first thing to try when that matters.
"""

from __future__ import annotations

from ...graph.nodes import Graph
from ..chain import Pass
from ..edit import edit, takes
from ..options import NetOptions


def sum_directly(graph: Graph, options: NetOptions) -> Graph:
    """Keep convolutions from Winograd's algorithm."""
    graph.nodes = [edit(node, winograd=False) if takes(node, "winograd") else node for node in graph.nodes]
    return graph


PASS = Pass(
    "winograd",
    "convolutions may use Winograd's algorithm; without it all are direct sums",
    after="relu_pooling",
    instead=sum_directly,
)
