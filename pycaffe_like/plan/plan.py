"""`Plan`: a graph with the objects that run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import _core as core
from ..graph.nodes import Graph, Value


@dataclass
class Plan:
    """A graph ready to run.

    Attributes
    ----------
    graph : Graph
        After all passes.
    blobs : dict of Value to core.Blob
        One blob for each version that owns memory (`Value.root`).
    layers : list of core.Layer
        One for each node.
    executor : core.Executor
        Runs them in order.
    arena : core.Storage
        Where arrays that are not kept take turns.
    places : dict of int to int
        Offsets in the arena, by `data_id` or `diff_id` of the blobs that lie there.
    again : dict of int to list of int
        Steps that run forward once more, in order, before the backward of a step.
    """

    graph: Graph
    blobs: dict[Value, core.Blob]
    layers: list[core.Layer]
    executor: core.Executor
    arena: core.Storage
    places: dict[int, int] = field(default_factory=dict)
    again: dict[int, list[int]] = field(default_factory=dict)

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
