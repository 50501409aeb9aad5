"""The chain of passes, and the executor made from their result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from .. import _core as core
from ..graph.nodes import Graph, Node, Value
from .diff_pool import pool_diffs
from .fusion import fuse_layers
from .layout import assign_layouts
from .precision import assign_precision


@dataclasses.dataclass
class Plan:
    """A graph ready to run.

    Attributes
    ----------
    graph : Graph
        After all passes.
    blobs : dict of Value to core.Blob
        One blob for each version that owns memory (`Value.root`).
    executor : core.Executor
        Runs `graph.nodes` in order.
    """

    graph: Graph
    blobs: dict[Value, core.Blob]
    executor: core.Executor

    def blob(self, value: Value) -> core.Blob:
        """The blob a version lives in."""
        return self.blobs[value.root]

    def steps(self, first: int, last: int, order: Mapping[str, int]) -> tuple[int, int] | None:
        """Range of executor steps that run the declared layers `first` to `last`, both included.

        Parameters
        ----------
        order
            Position of each declared layer.

        Returns
        -------
        tuple of int, or None
            None if a fused step would run a layer outside the range as well.
        """
        inside: list[int] = []
        waiting: list[int] = []  # reorders, which belong to the layer after them
        for index, node in enumerate(self.graph.nodes):
            places = [order[name] for name in node.members]
            if not places:
                waiting.append(index)
                continue
            hits = [first <= place <= last for place in places]
            if all(hits):
                inside += [*waiting, index]
            elif any(hits):
                return None
            waiting = []
        return (inside[0], inside[-1] + 1) if inside else (0, 0)


def make_plan(
    declared: Graph,
    *,
    precision: str = "float32",
    fusion: bool = True,
    keep_diffs: bool = True,
    seed: int = 0,
    keep: Mapping[str, core.Blob] | None = None,
    watch: Callable[[str, Graph], None] | None = None,
) -> Plan:
    """Plan a graph.

    Parameters
    ----------
    declared : Graph
        Left as it is; passes work on a copy.
    precision : {"float32", "bfloat16"}
        Element type of activations.
    fusion : bool
        Whether neighbouring layers may run as one.
    keep_diffs : bool
        Keep the gradients of all blobs after backward; False lets those of intermediate blobs take turns.
    seed : int
        Seed of the layers' random numbers.
    keep : mapping of str to core.Blob, optional
        Blobs of an earlier plan of the same net, used again where name and form are equal.
    watch : callable, optional
        Called as ``watch(name, graph)`` with the declared graph and after each pass.
    """
    passes: dict[str, Callable[[Graph], Graph]] = {
        "declared": _copy,
        "fusion": fuse_layers if fusion else _unchanged,
        "precision": lambda graph: assign_precision(graph, precision),
        "layout": assign_layouts,
    }
    graph = declared
    for name, run in passes.items():
        graph = run(graph)
        if watch:
            watch(name, graph)
    blobs = _make_blobs(graph, keep or {})
    executor = core.Executor([_step(node, blobs) for node in graph.nodes], seed)
    executor.reshape()
    if not keep_diffs:
        pool_diffs(graph, blobs)
    return Plan(graph, blobs, executor)


def _unchanged(graph: Graph) -> Graph:
    return graph


def _copy(graph: Graph) -> Graph:
    """Copy nodes and values; layers, params and definitions stay the same objects."""
    copies: dict[Value, Value] = {}

    def copy(value: Value) -> Value:
        if value not in copies:
            copies[value] = dataclasses.replace(value)
            if value.memory_of is not None:
                copies[value].memory_of = copy(value.memory_of)
        return copies[value]

    nodes = [
        dataclasses.replace(
            node,
            bottoms=[copy(value) for value in node.bottoms],
            tops=[copy(value) for value in node.tops],
            propagate_down=list(node.propagate_down),
            members=list(node.members),
        )
        for node in graph.nodes
    ]
    return dataclasses.replace(graph, nodes=nodes)


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
    if old is None:
        return core.Blob(value.shape, value.dtype, value.layout)
    fresh = core.Blob(old.shape, value.dtype, value.layout)
    if (old.dtype, old.layout) != (fresh.dtype, fresh.layout):
        return core.Blob(value.shape, value.dtype, value.layout)
    if old.diff_pooled:
        fresh.share_data(old)
        return fresh
    return old


def _step(node: Node, blobs: Mapping[Value, core.Blob]) -> core.Step:
    return core.Step(
        name=node.name,
        layer=node.layer,
        bottoms=[blobs[value.root] for value in node.bottoms],
        tops=[blobs[value.root] for value in node.tops],
        loss_weights=node.loss_weights,
        propagate_down=node.propagate_down,
        need_backward=node.need_backward,
    )
