"""Fusion pass: neighbouring layers that run as one step, with the same results and the same visible blobs.

Four patterns, only along in-place chains, so that every blob a user can name keeps its value:

- Convolution or InnerProduct, then ReLU: the matrix kernel clips its own result.
- Eltwise sum, then ReLU: the end of a residual block in one pass.
- BatchNorm, then Scale with bias, then ReLU (either may be missing): one step, which reads its input twice
  instead of four times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.nodes import Graph, Node, Value
from .remake import remake


def fuse_layers(graph: Graph) -> Graph:
    """Replace every chain that fits a pattern by one node."""
    readers = {value: node for node in graph.nodes for value in node.bottoms}
    fused: dict[Node, Node] = {}
    gone: set[Node] = set()
    for node in graph.nodes:
        if node in gone:
            continue
        chain = _chain(node, readers)
        if chain:
            fused[node] = _fuse([node, *chain])
            gone.update(chain)
    graph.nodes = [fused.get(node, node) for node in graph.nodes if node not in gone]
    return graph


def _chain(node: Node, readers: dict[Value, Node]) -> list[Node]:
    """Nodes after `node` that one step can take over."""
    if len(node.tops) != 1 or any(node.loss_weights):
        return []
    chain = [node]

    def take(fits: Callable[[Node], bool]) -> bool:
        follower = _in_place_reader(chain[-1], readers)
        if follower is None or not fits(follower):
            return False
        chain.append(follower)
        return True

    if node.definition.type == "BatchNorm" and len(node.params) == 3:
        take(_is_channel_scale)
    elif not _can_clip(node):
        return []
    elif _can_fold(node) and take(_has_stored_statistics):
        take(_is_channel_scale)
    take(_is_plain_relu)
    return chain[1:]


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


def _can_clip(node: Node) -> bool:
    """Whether the C++ layer of this node takes `relu`."""
    if node.definition.type == "Eltwise":
        param = node.definition.message.eltwise_param
        return bool(param.operation == param.SUM)
    return node.definition.type in ("Convolution", "InnerProduct")


def _can_fold(node: Node) -> bool:
    """Whether statistics may go into this node's weights: they would spoil the weights' gradient."""
    return (
        node.definition.type == "Convolution"
        and node.definition.message.convolution_param.axis == 1
        and not node.need_backward
    )


def _has_stored_statistics(node: Node) -> bool:
    if node.definition.type != "BatchNorm" or len(node.params) != 3:
        return False
    return bool(node.kind.arguments(node.definition, [node.bottoms[0].shape])["use_global_stats"])


def _is_plain_relu(node: Node) -> bool:
    return node.definition.type == "ReLU" and node.definition.message.relu_param.negative_slope == 0


def _is_channel_scale(node: Node) -> bool:
    param = node.definition.message.scale_param
    return bool(
        node.definition.type == "Scale" and param.bias_term and param.axis == 1 and param.num_axes == 1
    )


def _fuse(chain: list[Node]) -> Node:
    """Make the node that does the work of all."""
    first, last = chain[0], chain[-1]
    types = [node.definition.type for node in chain]
    changes: dict[str, Any] = {"relu": last.definition.type == "ReLU"}
    if "BatchNorm" in types:
        changes["scale_bias"] = "Scale" in types
    if types[:2] == ["Convolution", "BatchNorm"]:
        changes["batch_norm"] = True
        changes["eps"] = float(chain[1].definition.message.batch_norm_param.eps)
    top = last.tops[0]
    in_place = first.tops[0].memory_of
    # Backward reads the chain's input, so it must survive; without backward, in place saves memory.
    top.memory_of = in_place if in_place and not first.need_backward else None
    fused = remake(first, chain[1:], **changes)
    fused.tops = [top]
    return fused
