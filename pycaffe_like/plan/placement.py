"""Placement pass: in a net on the GPU, layers without a kernel there run on the CPU, between copies."""

from __future__ import annotations

import logging

from ..graph.nodes import Graph, Node
from .conversion import transfer_bottom

log = logging.getLogger("caffe")


def place_layers(graph: Graph) -> Graph:
    """Insert Transfer nodes where a layer reads what was made on the other device."""
    nodes: list[Node] = []
    for node in graph.nodes:
        for index, value in enumerate(node.bottoms):
            if value.device != node.layer.device:
                transfer_bottom(nodes, node, index, node.layer.device)
        for top in node.tops:
            top.device = node.layer.device
        nodes.append(node)
    graph.nodes = _copy_at_once(nodes)
    return graph


def _copy_at_once(nodes: list[Node]) -> list[Node]:
    """Move each Transfer to what it copies: all steps behind the copies of a batch may then be recorded."""
    transfers: dict[int, list[Node]] = {}
    others = [node for node in nodes if node.definition.type != "Transfer"]
    maker = {id(top): index for index, node in enumerate(others) for top in node.tops}
    for node in nodes:
        if node.definition.type == "Transfer":
            transfers.setdefault(maker[id(node.bottoms[0])], []).append(node)
    return [each for index, node in enumerate(others) for each in (node, *transfers.get(index, []))]


def log_placement(graph: Graph) -> None:
    """Say which layers of a net on the GPU run on the CPU; sources of data do so as a rule."""
    names = [node.name for node in graph.nodes if node.layer.device == "cpu" and node.bottoms]
    if names:
        log.info("No GPU kernel, runs on the CPU: %s", ", ".join(names))
