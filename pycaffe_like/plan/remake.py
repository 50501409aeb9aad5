"""Making a node's layer anew with other arguments, as passes do that let one layer do the work of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .. import _core as core
from ..graph.nodes import Node


def arguments_of(node: Node) -> dict[str, Any]:
    """Arguments of a node's layer."""
    shapes = [value.shape for value in node.bottoms]
    return node.arguments or node.kind.arguments(node.definition, shapes)


def remake(node: Node, followers: Sequence[Node] = (), **changes: Any) -> Node:
    """Copy a node, with a layer that also has the learned blobs of `followers`.

    Parameters
    ----------
    node : Node
        Keeps its layer.
    followers : sequence of Node
        Nodes whose work the new layer does as well.
    **changes
        Arguments of the C++ layer that differ from those of the node.
    """
    arguments = {**arguments_of(node), **changes}
    layer = core.create_layer(node.definition.type, node.layer.device, arguments)
    layer.stream = node.layer.stream
    together = [node, *followers]
    params = [param for each in together for param in each.params]
    flags = [flag for each in together for flag in each.param_propagate_down]
    layer.params = [param.blob for param in params]
    layer.param_propagate_down = flags
    return dataclasses.replace(
        node,
        layer=layer,
        params=params,
        param_propagate_down=flags,
        members=[name for each in together for name in each.members],
        arguments=arguments,
    )
