"""Dropout pass: a layer that only passes its bottom on, as Dropout in testing, costs nothing."""

from __future__ import annotations

from ...graph.nodes import Graph, Node, Value
from ..chain import Pass
from ..options import NetOptions


def take_out(graph: Graph, options: NetOptions) -> Graph:
    """Take out such layers in place; let the top of any other share its bottom's memory.

    A top that a later layer overwrites keeps memory of its own: the bottom is a blob that can be seen.
    """
    overwritten = {top.memory_of for node in graph.nodes for top in node.tops}
    source: dict[Value, Value] = {}  # of the tops that are gone
    nodes: list[Node] = []
    for node in graph.nodes:
        node.bottoms = [source.get(value, value) for value in node.bottoms]
        for top in node.tops:
            top.memory_of = source.get(top.memory_of, top.memory_of) if top.memory_of else None
        if not _passes_on(node):
            nodes.append(node)
        elif node.tops[0].memory_of is not None:
            source[node.tops[0]] = node.bottoms[0]
        else:
            node.tops[0].memory_of = None if node.tops[0] in overwritten else node.bottoms[0]
            nodes.append(node)
    graph.nodes = nodes
    return graph


def _passes_on(node: Node) -> bool:
    return node.kind.passes_on(node.definition) and not node.need_backward and not any(node.loss_weights)


PASS = Pass(
    "dropout",
    "Dropout that passes its bottom on, in a net that only tests, is taken out",
    take_out,
    after="placement",
)
