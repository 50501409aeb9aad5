"""Inserts Reorder nodes: the one way a plan changes layout or element type between two layers."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .. import _core as core
from .. import schema
from ..definition import LayerDefinition
from ..graph.nodes import Node, Value
from ..layer_type import LayerType, Reads


class _Reorder(LayerType):
    """Not a type users can write: it only gives the node its traits."""

    layout: ClassVar = "any"
    backward_reads: ClassVar = Reads()


def convert_bottom(nodes: list[Node], node: Node, index: int, *, layout: str, dtype: str) -> None:
    """Let bottom `index` of `node` be read in another form; appends the Reorder to `nodes`, before `node`.

    A top that works in place on that bottom then works on the converted copy.
    """
    value = node.bottoms[index]
    if value.hidden and any(other.kind is _Reorder and other.tops == [value] for other in nodes):
        value.layout, value.dtype = layout, dtype  # made for this node alone: one Reorder does both
        return
    converted = Value(value.name, value.shape, dtype, layout, hidden=True, need_backward=value.need_backward)
    nodes.append(_reorder(node, value, converted, node.propagate_down[index]))
    node.bottoms[index] = converted
    for top in node.tops:
        if top.memory_of is value:
            top.memory_of = converted


def convert_top(nodes: list[Node], node: Node, index: int, *, layout: str) -> None:
    """Let top `index` of `node` be seen in another layout; appends the Reorder to `nodes`, after `node`.

    The Reorder runs whenever the layer does, and takes over the top's loss weight.
    """
    top = node.tops[index]
    made = dataclasses.replace(top, hidden=True)
    top.layout, top.memory_of = layout, None
    reorder = _reorder(node, made, top, node.need_backward)
    reorder.members = list(node.members)
    reorder.loss_weights = [node.loss_weights[index]]
    node.tops[index] = made
    node.loss_weights[index] = 0.0
    nodes.append(reorder)


def _reorder(node: Node, source: Value, target: Value, propagate_down: bool) -> Node:
    message = schema.LayerParameter(name=f"{node.name}/reorder_{source.name}", type="Reorder")
    return Node(
        LayerDefinition(message),
        _Reorder,
        core.create_layer("Reorder", "cpu", {}),
        [source],
        [target],
        loss_weights=[0.0],
        propagate_down=[propagate_down],
        need_backward=propagate_down and node.need_backward,
        label=message.name,
    )
