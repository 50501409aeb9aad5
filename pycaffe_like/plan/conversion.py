"""Inserts Reorder nodes: the one way a plan changes layout or element type between two layers."""

from __future__ import annotations

from typing import ClassVar

from .. import _core as core
from .. import schema
from ..definition import LayerDefinition
from ..graph.nodes import Node, Value
from ..layer_type import LayerType


class _Reorder(LayerType):
    """Not a type users can write: it only gives the node its traits."""

    layout: ClassVar = "any"


def convert_bottom(nodes: list[Node], node: Node, index: int, *, layout: str, dtype: str) -> None:
    """Let bottom `index` of `node` be read in another form; appends the Reorder to `nodes`, before `node`.

    A top that works in place on that bottom then works on the converted copy.
    """
    value = node.bottoms[index]
    converted = Value(value.name, value.shape, dtype, layout, hidden=True, need_backward=value.need_backward)
    message = schema.LayerParameter(name=f"{node.name}/reorder_{value.name}", type="Reorder")
    flag = node.propagate_down[index]
    nodes.append(
        Node(
            LayerDefinition(message),
            _Reorder,
            core.create_layer("Reorder", "cpu", {}),
            [value],
            [converted],
            loss_weights=[0.0],
            propagate_down=[flag],
            need_backward=flag and node.need_backward,
            label=message.name,
        )
    )
    node.bottoms[index] = converted
    for top in node.tops:
        if top.memory_of is value:
            top.memory_of = converted
