"""Memory pass for training: diffs of intermediate blobs whose lives do not overlap use the same memory.

A diff lives from the backward step that writes it first to the last one that reads it. Diffs that somebody
outside may look at keep memory of their own: those of inputs, of outputs, and of tops with a loss weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import _core as core
from ..graph.nodes import Graph, Node, Value


@dataclass
class _Diff:
    """A diff array, which several blobs may share; times count backward steps."""

    blobs: list[core.Blob]
    begin: int
    end: int
    written: bool = False
    kept: bool = False

    @property
    def bytes(self) -> int:
        return max(int(blob.bytes) for blob in self.blobs)


def pool_diffs(graph: Graph, blobs: Mapping[Value, core.Blob]) -> None:
    """Give the diffs of intermediate blobs slots of memory to take turns in.

    Parameters
    ----------
    graph : Graph
        Planned, its executor reshaped: layers have shared what they share.
    blobs : mapping of Value to core.Blob
        The blobs of the plan.
    """
    free: list[core.Blob] = []
    busy: list[tuple[int, core.Blob]] = []  # when a slot is free again
    for diff in sorted(_lives(graph, blobs), key=lambda diff: diff.begin):
        free += [slot for end, slot in busy if end < diff.begin]
        busy = [(end, slot) for end, slot in busy if end >= diff.begin]
        slot = _take(free, diff.bytes)
        busy.append((diff.end, slot))
        for blob in diff.blobs:
            blob.pool_diff(slot)


def _take(free: list[core.Blob], wanted: int) -> core.Blob:
    """The smallest free slot that is large enough, else the largest, which grows, else a new one."""
    free.sort(key=lambda slot: slot.bytes)
    fitting = next((slot for slot in free if slot.bytes >= wanted), free[-1] if free else None)
    slot = core.Blob() if fitting is None else fitting
    if fitting is not None:
        free.remove(fitting)
    if slot.bytes < wanted:
        slot.reshape(-(-wanted // 4))
    return slot


def _lives(graph: Graph, blobs: Mapping[Value, core.Blob]) -> list[_Diff]:
    """All diffs that may take turns."""
    found: dict[int, _Diff] = {}
    for time, node in enumerate(reversed(graph.nodes)):
        for value, written in _touched(node):
            blob = blobs[value.root]
            diff = found.setdefault(blob.diff_id, _Diff([], time, time))
            diff.end = time
            diff.written |= written
            diff.kept |= _is_kept(graph, node, value)
            if all(blob is not other for other in diff.blobs):
                diff.blobs.append(blob)
    return [diff for diff in found.values() if diff.written and not diff.kept]


def _touched(node: Node) -> list[tuple[Value, bool]]:
    """Values whose diffs the node's backward reads (tops) or writes (bottoms)."""
    written = [(value, flag and node.need_backward) for value, flag in zip(node.bottoms, node.propagate_down)]
    return [(top, False) for top in node.tops] + written


def _is_kept(graph: Graph, node: Node, value: Value) -> bool:
    ends = value.name in graph.inputs or value.name in graph.outputs
    return ends or any(weight and top is value for weight, top in zip(node.loss_weights, node.tops))
