"""Decides which layers run backward, and for which bottoms and params."""

from __future__ import annotations

import logging

from ..facts import Bottom
from .nodes import Node

log = logging.getLogger("caffe")


def mark_backward(nodes: list[Node], *, force: bool = False) -> None:
    """Set the backward flags of all nodes, as Caffe does.

    Parameters
    ----------
    nodes : list of Node
        In running order.
    force : bool
        The net's force_backward: gradients for every bottom that allows it.

    Raises
    ------
    ConfigError
        If a layer without a gradient has a loss weight.
    """
    for node in nodes:
        _mark_forward(node)
        _require_gradient(node)
    _switch_off_what_no_loss_needs(nodes)
    for node in reversed(nodes):  # before force_backward, like Caffe's log
        does = "needs" if node.need_backward else "does not need"
        log.info("%s %s backward computation.", node.definition.name, does)
    if force:
        for node in nodes:
            _force(node)


def _mark_forward(node: Node) -> None:
    """Flags from below: a bottom that needs a gradient, or a param that learns."""
    given = node.definition.message.propagate_down
    node.propagate_down = [
        given[index] if given else value.need_backward and _can_give(node, fact)
        for index, (value, fact) in enumerate(zip(node.bottoms, node.bottom_facts))
    ]
    specs = node.definition.message.param
    node.param_propagate_down = [
        specs[index].lr_mult != 0 if index < len(specs) else True for index in range(len(node.params))
    ]
    node.need_backward = any(value.need_backward for value in node.bottoms) or any(node.param_propagate_down)
    for top in node.tops:
        top.need_backward = node.need_backward


def _require_gradient(node: Node) -> None:
    """Refuse a loss weight on what has no gradient, such as an accuracy."""
    none = node.bottoms and not any(fact.gradient for fact in node.bottom_facts)
    if none and any(node.loss_weights) and any(value.need_backward for value in node.bottoms):
        raise node.definition.error(f"{node.kind.type} has no gradient", "loss_weight", hint="remove it")


def _can_give(node: Node, fact: Bottom) -> bool:
    """Whether a gradient may be asked for; a loss refuses to be asked for that of its labels, as in Caffe."""
    return fact.gradient or node.kind.loss


def _switch_off_what_no_loss_needs(nodes: list[Node]) -> None:
    """Flags from above: layers that reach no loss, or whose readers all skip their backward, are off."""
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for node in reversed(nodes):
        names = [top.name for top in node.tops]
        contributes = any(weight or name in under_loss for weight, name in zip(node.loss_weights, names))
        all_skipped = all(name in skipped for name in names)
        if (node.need_backward and all_skipped) or not contributes:
            node.need_backward = False
            node.propagate_down = [False] * len(node.bottoms)
        if contributes:
            under_loss.update(value.name for value in node.bottoms)
        skipped.update(value.name for value, flag in zip(node.bottoms, node.propagate_down) if not flag)


def _force(node: Node) -> None:
    node.need_backward = True
    node.propagate_down = [
        flag or fact.gradient for flag, fact in zip(node.propagate_down, node.bottom_facts)
    ]
    node.param_propagate_down = [True] * len(node.params)
