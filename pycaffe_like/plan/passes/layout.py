"""Layout pass: 4-D and 5-D blobs channels-last, except where a layer needs them plain.

Where the pass is left out, `keep_plain` runs in its place: every blob plain.
"""

from __future__ import annotations

from ...graph.nodes import Graph, Node, Value
from ..chain import Pass
from ..conversion import convert_bottom, convert_top
from ..options import NetOptions


def assign_layouts(graph: Graph, options: NetOptions) -> Graph:
    """Give every value its layout and insert Reorder nodes where a layer cannot take what its bottom has."""
    nodes: list[Node] = []
    for node in graph.nodes:
        _connect(nodes, node, _layout(node, "channels_last"))
    graph.nodes = nodes
    return graph


def keep_plain(graph: Graph, options: NetOptions) -> Graph:
    """Leave every value plain; Reorder nodes surround the layers that compute channels-last only."""
    nodes: list[Node] = []
    for node in graph.nodes:
        _connect(nodes, node, "plain" if node.kind.takes_plain else _layout(node, "plain"))
        for index, top in enumerate(node.tops):
            if _has_layout(top) and top.layout != "plain":
                convert_top(nodes, node, index, layout="plain")
    graph.nodes = nodes
    return graph


def _connect(nodes: list[Node], node: Node, layout: str) -> None:
    """Append the node, and before it what brings its bottoms into the layout it computes in."""
    for index, (value, fact) in enumerate(zip(node.bottoms, node.bottom_facts)):
        wanted = "plain" if fact.plain else layout
        if _has_layout(value) and value.layout != wanted:
            convert_bottom(nodes, node, index, layout=wanted, dtype=value.dtype)
    for top, top_fact in zip(node.tops, node.top_facts):
        own = "plain" if top_fact.plain else layout
        top.layout = own if top.memory_of is None else top.memory_of.layout
    nodes.append(node)


def _has_layout(value: Value) -> bool:
    return len(value.shape) in (4, 5)


def _layout(node: Node, default: str) -> str:
    """What a node computes in: its own choice, else the layout of its first bottom."""
    layout = node.kind.layout_of(node.definition, [bottom.shape for bottom in node.bottoms])
    if layout != "any":
        return layout
    return node.bottoms[0].layout if node.bottoms else default


PASS = Pass(
    "layout",
    "4-D and 5-D blobs are channels-last; without it all are plain",
    assign_layouts,
    after="precision",
    instead=keep_plain,
)
