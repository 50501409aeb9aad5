"""Changing the arguments of a node, as passes do that let one layer do the work of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..graph.nodes import Node


def takes(node: Node, *names: str) -> bool:
    """Whether the node's type has these arguments and they may be set here."""
    return all(name in node.arguments and node.kind.takes(node, name) for name in names)


def edit(node: Node, followers: Sequence[Node] = (), **changes: Any) -> Node:
    """Copy a node, with other arguments and the learned blobs of `followers` as well.

    Parameters
    ----------
    node : Node
    followers : sequence of Node
        Nodes whose work the new one does as well.
    **changes
        Arguments that differ from those of the node.
    """
    together = [node, *followers]
    return dataclasses.replace(
        node,
        arguments={**node.arguments, **changes},
        params=[param for each in together for param in each.params],
        param_propagate_down=[flag for each in together for flag in each.param_propagate_down],
        members=[name for each in together for name in each.members],
    )
