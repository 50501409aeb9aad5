"""Layout pass: 4-D and 5-D blobs channels-last, except where a layer needs them plain."""

from __future__ import annotations

from ..graph.nodes import Graph, Node, Value
from .conversion import convert_bottom


def assign_layouts(graph: Graph) -> Graph:
    """Give every value its layout and insert Reorder nodes where a layer cannot take what its bottom has."""
    nodes: list[Node] = []
    for node in graph.nodes:
        wanted = _wanted(node)
        for index, (value, layout) in enumerate(zip(node.bottoms, wanted)):
            if _has_layout(value) and value.layout != layout:
                convert_bottom(nodes, node, index, layout=layout, dtype=value.dtype)
        for top in node.tops:
            top.layout = _top_layout(node) if top.memory_of is None else top.memory_of.layout
        nodes.append(node)
    graph.nodes = nodes
    return graph


def _has_layout(value: Value) -> bool:
    return len(value.shape) in (4, 5)


def _wanted(node: Node) -> list[str]:
    """Layout each bottom must have."""
    layout = node.kind.layout_of(node.definition)
    if layout == "any" and node.bottoms:
        layout = node.bottoms[0].layout
    wanted = [layout] * len(node.bottoms)
    for index in node.kind.plain_bottoms:
        if index < len(wanted):
            wanted[index] = "plain"
    return wanted


def _top_layout(node: Node) -> str:
    layout = node.kind.layout_of(node.definition)
    if layout != "any":
        return layout
    return node.bottoms[0].layout if node.bottoms else "channels_last"
