"""Placement pass: in a net on the GPU, layers without a kernel there run on the CPU, between copies."""

from __future__ import annotations

import logging

from ..graph.nodes import Graph, Node
from .conversion import transfer_bottom

log = logging.getLogger("caffe")


def place_layers(graph: Graph) -> Graph:
    """Insert Transfer nodes where a layer reads what was made on the other device."""
    _keep_inputs_beside_their_writers(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        for index, value in enumerate(node.bottoms):
            if value.device != node.layer.device:
                transfers: list[Node] = []
                transfer_bottom(transfers, node, index, node.layer.device)
                place = _place_after_source(nodes, transfers[0])
                nodes[place:place] = transfers
        for top in node.tops:
            top.device = node.layer.device
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
        top.memory_of
        for node in graph.nodes
        for top in node.tops
        if top.memory_of and node.layer.device == "cpu"
    }
    for node in graph.nodes:
        if node.definition.type == "Input" and overwritten.intersection(node.tops):
            node.layer = node.kind.create(node.definition, [], "cpu", 0)
            for top in node.tops:
                top.device = "cpu"


def log_placement(graph: Graph) -> None:
    """Say which layers of a net on the GPU run on the CPU; sources of data do so as a rule."""
    names = [node.name for node in graph.nodes if node.layer.device == "cpu" and node.bottoms]
    if names:
        log.info("No GPU kernel, runs on the CPU: %s", ", ".join(names))
