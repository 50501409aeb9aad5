"""Lowering: from a graph, which is data, to the objects that run it. Allocates no blob memory."""

from __future__ import annotations

from collections.abc import Mapping

from .. import _core as core
from ..graph.nodes import Graph, Node, Value
from .plan import Plan


def lower(graph: Graph, seed: int, earlier: Plan | None = None) -> Plan:
    """Make blobs, layers and executor.

    Parameters
    ----------
    graph : Graph
        After all passes.
    seed : int
        Seed of the layers' random numbers.
    earlier : Plan, optional
        Plan of the same net: blobs of the same name and form are used again with their contents, and layers
        that do the same with what they keep between forward and backward.

    Returns
    -------
    Plan
        Every array has memory of its own; `make_plan` lays the arena.
    """
    blobs = _make_blobs(graph, _visible_blobs(earlier))
    layers = _make_layers(graph, earlier)
    executor = core.Executor([_step(*each, blobs) for each in zip(graph.nodes, layers)], seed)
    executor.reshape()
    return Plan(graph, blobs, layers, executor, core.Storage(0))


def _make_layers(graph: Graph, earlier: Plan | None) -> list[core.Layer]:
    old = {_form(node): layer for node, layer in zip(earlier.graph.nodes, earlier.layers)} if earlier else {}
    layers = []
    for node in graph.nodes:
        layer = node.started or old.get(_form(node))
        if layer is None:
            layer = core.create_layer(node.kind.type, node.device, node.arguments)
        layer.stream = node.stream
        layer.params = [param.blob for param in node.params]
        layer.param_propagate_down = node.param_propagate_down
        layer.state = node.state
        layers.append(layer)
    return layers


def _form(node: Node) -> tuple[str, str, str, str]:
    """What nodes of two plans have in common if they can have one layer."""
    return node.name, node.kind.type, node.device, repr(node.arguments)


def _visible_blobs(plan: Plan | None) -> dict[str, core.Blob]:
    return {name: plan.blob(value) for name, value in plan.graph.blobs().items()} if plan else {}


def _make_blobs(graph: Graph, keep: Mapping[str, core.Blob]) -> dict[Value, core.Blob]:
    visible = {id(value.root) for value in graph.blobs().values()}
    blobs: dict[Value, core.Blob] = {}
    for node in graph.nodes:
        for value in node.tops:
            root = value.root
            if root not in blobs:
                old = keep.get(root.name) if id(root) in visible else None
                blobs[root] = _make_blob(root, old)
    return blobs


def _make_blob(value: Value, old: core.Blob | None) -> core.Blob:
    """Make the blob of a value, or take the one of an earlier plan with its contents."""
    if old is None or old.data_pooled:
        return core.Blob(value.shape, value.dtype, value.layout, value.device)
    fresh = core.Blob(old.shape, value.dtype, value.layout, value.device)
    if (old.dtype, old.layout, old.device) != (fresh.dtype, fresh.layout, fresh.device):
        return core.Blob(value.shape, value.dtype, value.layout, value.device)
    if old.diff_pooled:
        fresh.share_data(old)
        return fresh
    return old


def _step(node: Node, layer: core.Layer, blobs: Mapping[Value, core.Blob]) -> core.Step:
    return core.Step(
        name=node.name,
        layer=layer,
        bottoms=[blobs[value.root] for value in node.bottoms],
        tops=[blobs[value.root] for value in node.tops],
        loss_weights=node.loss_weights,
        propagate_down=node.propagate_down,
        need_backward=node.need_backward,
    )
