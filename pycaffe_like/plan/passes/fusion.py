"""Fusion pass: neighbouring layers that run as one step, with the same results and the same visible blobs.

Only along in-place chains, so that every blob a user can name keeps its value. Which work a layer takes over
is said by the types (`LayerType.takes`, `LayerType.work`):

- Convolution or InnerProduct, then ReLU: the matrix kernel clips its own result.
- Eltwise sum, then ReLU: the end of a residual block in one pass.
- BatchNorm, then Scale with bias, then ReLU (either may be missing): one step, which reads its input twice
  instead of four times; in a net that only tests, after a Convolution, part of its weights.
"""

from __future__ import annotations

from ...graph.nodes import Graph, Node, Value
from ..chain import Pass
from ..edit import edit, takes
from ..options import NetOptions


def fuse_layers(graph: Graph, options: NetOptions) -> Graph:
    """Let every layer do the work of those behind it that it can take over."""
    readers = {value: node for node in graph.nodes for value in node.bottoms}
    gone: set[Node] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        if node not in gone:
            nodes.append(_fuse(node, readers, gone))
    graph.nodes = nodes
    return graph


def _fuse(first: Node, readers: dict[Value, Node], gone: set[Node]) -> Node:
    """The node with the work of its followers, which go."""
    if len(first.tops) != 1 or any(first.loss_weights):
        return first
    fused, last = first, first
    while follower := _in_place_reader(last, readers):
        work = follower.kind.work(follower)
        if not work or not takes(fused, *work):
            break
        fused, last = edit(fused, [follower], **work), follower
        gone.add(follower)
    if last is not first:
        _take_top(fused, last.tops[0])
    return fused


def _take_top(fused: Node, top: Value) -> None:
    """Backward reads the chain's input, so it must survive; without backward, in place saves memory."""
    in_place = fused.tops[0].memory_of
    top.memory_of = in_place if in_place and not fused.need_backward else None
    fused.tops = [top]


def _in_place_reader(node: Node, readers: dict[Value, Node]) -> Node | None:
    """The node that overwrites this one's top, if backward runs through both or neither."""
    reader = readers.get(node.tops[0])
    if reader is None or len(reader.bottoms) != 1:
        return None
    if [top.memory_of for top in reader.tops] != node.tops:
        return None
    same_backward = reader.need_backward == node.need_backward and reader.propagate_down == [
        node.need_backward
    ]
    return reader if same_backward and not any(reader.loss_weights) else None


PASS = Pass("fusion", "neighbouring layers run as one step", fuse_layers, after="dropout", joins=True)
