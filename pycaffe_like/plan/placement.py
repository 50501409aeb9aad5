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
    graph.nodes = nodes
    return graph


def log_placement(graph: Graph) -> None:
    """Say which layers of a net on the GPU run on the CPU; sources of data do so as a rule."""
    names = [node.name for node in graph.nodes if node.layer.device == "cpu" and node.bottoms]
    if names:
        log.info("No GPU kernel, runs on the CPU: %s", ", ".join(names))
