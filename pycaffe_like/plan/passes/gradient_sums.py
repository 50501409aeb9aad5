"""Gradient sums pass: of a blob's readers on a GPU, convolutions add their gradient to that of the others.

A Split adds the gradients of its tops in a pass over memory of its own. A convolution can add while it
writes, for one read. So tops share the gradient of the Split's bottom: of their readers the one that runs
backward first overwrites it, the others, convolutions, add to it. The Split adds the tops that are left.

The gradient of such a top alone is never made, so this is for plans that do not keep gradients: there nobody
can look at it, nor put one in for a backward that begins between the readers.
"""

from __future__ import annotations

from ...graph.nodes import Graph, Node, Value
from ..chain import Pass
from ..edit import edit, takes
from ..liveness import is_kept
from ..options import NetOptions


def add_in_place(graph: Graph, options: NetOptions) -> Graph:
    """Let tops of a Split share its bottom's gradient, where the readers of two or more can."""
    if options.keep_diffs:
        return graph
    readers = _only_readers(graph)
    makers = {top: node for node in graph.nodes for top in node.tops}
    changed: dict[Node, Node] = {}
    for node in graph.nodes:
        if not _shares(node) or is_kept(graph, makers[node.bottoms[0]], node.bottoms[0]):
            continue
        tops = _sharing(node, graph, readers)
        if len(tops) > 1:
            changed[node] = edit(node, shared_diffs=[node.tops.index(top) for top in tops])
            changed.update((readers[top], edit(readers[top], accumulates=True)) for top in tops[1:])
    graph.nodes = [changed.get(node, node) for node in graph.nodes]
    return graph


def _only_readers(graph: Graph) -> dict[Value, Node]:
    """Who reads a value, if it is read once and never overwritten."""
    uses: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in [*node.bottoms, *(top.memory_of for top in node.tops if top.memory_of)]:
            uses.setdefault(value, []).append(node)
    return {value: nodes[0] for value, nodes in uses.items() if len(nodes) == 1}


def _shares(node: Node) -> bool:
    return takes(node, "shared_diffs") and node.need_backward and node.propagate_down == [True]


def _sharing(split: Node, graph: Graph, readers: dict[Value, Node]) -> list[Value]:
    """Tops that can share one gradient, in the order in which their readers run backward."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    tops = [top for top in split.tops if top in readers]  # one with a loss weight is not read
    found: list[Value] = []
    for top in sorted(tops, key=lambda top: -place[readers[top]]):
        if _propagates(readers[top], top) and (_adds if found else _overwrites)(readers[top]):
            found.append(top)
    return found


def _propagates(node: Node, bottom: Value) -> bool:
    return node.need_backward and node.propagate_down[node.bottoms.index(bottom)]


def _overwrites(node: Node) -> bool:
    return node.kind.writes_gradients


def _adds(node: Node) -> bool:
    return takes(node, "accumulates")


PASS = Pass(
    "gradient_sums",
    "convolutions on a GPU add to the gradients of a blob's other readers, if none is kept",
    add_in_place,
    after="layout",
)
