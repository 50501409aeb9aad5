"""Fusion pass: neighbouring layers that run as one step, with the same results and the same visible blobs.

Four patterns, only along in-place chains, so that every blob a user can name keeps its value:

- Convolution or InnerProduct, then ReLU: the matrix kernel clips its own result.
- Eltwise sum, then ReLU: the end of a residual block in one pass.
- BatchNorm, then Scale with bias, then ReLU (either may be missing): one step, which reads its input twice
  instead of four times.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from .. import _core as core
from ..graph.nodes import Graph, Node, Value


def fuse_layers(graph: Graph, device: str = "cpu") -> Graph:
    """Replace every chain that fits a pattern by one node."""
    readers = {value: node for node in graph.nodes for value in node.bottoms}
    fused: dict[Node, Node] = {}
    gone: set[Node] = set()
    for node in graph.nodes:
        if node in gone:
            continue
        chain = _chain(node, readers)
        if chain:
            fused[node] = _fuse([node, *chain], device)
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


def _fuse(chain: list[Node], device: str) -> Node:
    """Make the node that does the work of all."""
    first, last = chain[0], chain[-1]
    params = [param for node in chain for param in node.params]
    arguments: dict[str, Any] = first.kind.arguments(
        first.definition, [value.shape for value in first.bottoms]
    )
    arguments["relu"] = last.definition.type == "ReLU"
    types = [node.definition.type for node in chain]
    if "BatchNorm" in types:
        arguments["scale_bias"] = "Scale" in types
    if types[:2] == ["Convolution", "BatchNorm"]:
        arguments["batch_norm"] = True
        arguments["eps"] = float(chain[1].definition.message.batch_norm_param.eps)
    layer = core.create_layer(first.definition.type, device, arguments)
    layer.stream = first.layer.stream
    layer.params = [param.blob for param in params]
    flags = [flag for node in chain for flag in node.param_propagate_down]
    layer.param_propagate_down = flags
    top = last.tops[0]
    in_place = first.tops[0].memory_of
    # Backward reads the chain's input, so it must survive; without backward, in place saves memory.
    top.memory_of = in_place if in_place and not first.need_backward else None
    return dataclasses.replace(
        first,
        layer=layer,
        tops=[top],
        params=params,
        param_propagate_down=flags,
        members=[name for node in chain for name in node.members],
    )
