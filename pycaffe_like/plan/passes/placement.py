"""Placement pass: in a net on the GPU, layers without a kernel there run on the CPU, between copies."""

from __future__ import annotations

from ...graph.nodes import Graph, Node
from ..chain import Pass
from ..conversion import transfer_bottom
from ..options import NetOptions


def place_layers(graph: Graph, options: NetOptions) -> Graph:
    """Insert Transfer nodes where a layer reads what was made on the other device."""
    _keep_inputs_beside_their_writers(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        for index, value in enumerate(node.bottoms):
            if value.device != node.device:
                transfers: list[Node] = []
                transfer_bottom(transfers, node, index, node.device)
                place = _place_after_source(nodes, transfers[0])
                nodes[place:place] = transfers
        for top in node.tops:
            top.device = node.device
        nodes.append(node)
    graph.nodes = nodes
    return graph


def _place_after_source(nodes: list[Node], transfer: Node) -> int:
    """What a source of data makes travels at once, so that all that follows can be one recording."""
    for index, node in enumerate(nodes):
        if not node.bottoms and transfer.bottoms[0] in node.tops:
            return index + 1
    return len(nodes)


def _keep_inputs_beside_their_writers(graph: Graph) -> None:
    """An input that a layer on the CPU overwrites lies there too: to the user both are one blob."""
    overwritten = {
        top.memory_of for node in graph.nodes for top in node.tops if top.memory_of and node.device == "cpu"
    }
    for node in graph.nodes:
        is_input = bool(node.tops) and all(top.name in graph.inputs for top in node.tops)
        if is_input and not node.bottoms and overwritten.intersection(node.tops):
            node.device = "cpu"
            for top in node.tops:
                top.device = "cpu"


PASS = Pass(
    "placement",
    "layers without a kernel for the GPU run on the CPU, between copies",
    place_layers,
    optional=False,
)
