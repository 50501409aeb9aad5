"""Inserts Reorder and Transfer nodes: the one way a plan changes a blob's form or device between layers."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..facts import Reads
from ..graph.nodes import Node, Value
from ..layer_type import LayerType
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition


class _Reorder(LayerType):
    """Not a type users can write: it only gives the node its traits."""

    type: ClassVar = "Reorder"
    layout: ClassVar = "any"
    backward_reads: ClassVar = Reads()
    writes_gradients: ClassVar = False


class _Transfer(_Reorder):
    """The same for copies between the devices; what was copied may have gone on to the next batch."""

    type: ClassVar = "Transfer"
    recomputable: ClassVar = False


def transfer_bottom(nodes: list[Node], node: Node, index: int, device: str) -> None:
    """Let bottom `index` of `node` be read on another device; appends the Transfer to `nodes`, before `node`.

    A top that works in place on that bottom then works on the copy.
    """
    value = node.bottoms[index]
    copied = dataclasses.replace(value, device=device, memory_of=None, hidden=True)
    nodes.append(_conversion(_Transfer, node, value, copied, node.propagate_down[index]))
    _replace_bottom(node, index, copied)


def convert_bottom(nodes: list[Node], node: Node, index: int, *, layout: str, dtype: str) -> None:
    """Let bottom `index` of `node` be read in another form; appends the Reorder to `nodes`, before `node`.

    A top that works in place on that bottom then works on the converted copy.
    """
    value = node.bottoms[index]
    if value.hidden and any(other.kind is _Reorder and other.tops == [value] for other in nodes):
        value.layout, value.dtype = layout, dtype  # made for this node alone: one Reorder does both
        return
    converted = dataclasses.replace(value, dtype=dtype, layout=layout, memory_of=None, hidden=True)
    nodes.append(_conversion(_Reorder, node, value, converted, node.propagate_down[index]))
    _replace_bottom(node, index, converted)


def _replace_bottom(node: Node, index: int, value: Value) -> None:
    old = node.bottoms[index]
    node.bottoms[index] = value
    for top in node.tops:
        if top.memory_of is old:
            top.memory_of = value


def convert_top(nodes: list[Node], node: Node, index: int, *, layout: str) -> None:
    """Let top `index` of `node` be seen in another layout; appends the Reorder to `nodes`, after `node`.

    The Reorder runs whenever the layer does, and takes over the top's loss weight.
    """
    top = node.tops[index]
    made = dataclasses.replace(top, hidden=True)
    top.layout, top.memory_of = layout, None
    reorder = _conversion(_Reorder, node, made, top, node.need_backward)
    reorder.members = list(node.members)
    reorder.loss_weights = [node.loss_weights[index]]
    node.tops[index] = made
    node.loss_weights[index] = 0.0
    nodes.append(reorder)


def _conversion(
    kind: type[LayerType], node: Node, source: Value, target: Value, propagate_down: bool
) -> Node:
    message = schema.LayerParameter(name=f"{node.name}/{kind.type.lower()}_{source.name}", type=kind.type)
    return Node(
        LayerDefinition(message),
        kind,
        source.device if kind is _Reorder else "cpu",
        {},
        [source],
        [target],
        loss_weights=[0.0],
        propagate_down=[propagate_down],
        need_backward=propagate_down and node.need_backward,
        label=message.name,
    )
