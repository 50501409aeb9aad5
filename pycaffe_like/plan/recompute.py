"""Recomputation: data that backward reads is dropped after forward and made again, to fit into fewer bytes.

Arrays are dropped one by one, each time the one that takes most off the peak for the time it costs, until the
arena fits. Steps give the same bits when they run again, so results do not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core as core
from ..graph.nodes import Graph, Node, Value
from .arena import arena_bytes, pack
from .liveness import Array, Lives, Span, backward_moment

Dropped = frozenset[Array]

# A guess at the machine, good enough to tell cheap steps from dear ones.
_FLOPS_PER_SECOND = 3e11
_BYTES_PER_SECOND = 1e10

_NEARLY = 0.95  # of the peak: moments above it are looked at together


@dataclass
class Problem:
    """What may be dropped, and what it costs.

    Attributes
    ----------
    steps : int
        Number of steps of the plan.
    arrays : list of Array
        All that take turns in the arena.
    sources : dict of Array to list of Array
        Arrays that can be made again, the last made first, and what is read for it.
    seconds : dict of Array to float
        How long making them again takes.
    """

    steps: int
    arrays: list[Array]
    sources: dict[Array, list[Array]]
    seconds: dict[Array, float]


@dataclass
class Schedule:
    """When each array is needed, and at which moment a dropped one is made again."""

    spans: list[list[Span]]
    again: dict[Array, int]


class DoesNotFit(Exception):
    """No choice of arrays is small enough; `smallest` is how many bytes the arena needs at least."""

    def __init__(self, smallest: int) -> None:
        super().__init__(smallest)
        self.smallest = smallest


def make_problem(
    graph: Graph, blobs: Mapping[Value, core.Blob], lives: Lives, arrays: list[Array]
) -> Problem:
    """Find out which of the arrays that take turns can be made again."""
    pooled = set(arrays)
    data = sorted((array for array in lives.data.values() if array in pooled), key=lambda a: -max(a.makers))
    problem = Problem(len(graph.nodes), arrays, {}, {})
    for array in data:
        makers = [graph.nodes[step] for step in array.makers]
        if any(lives.data[blobs[top.root].data_id] is not array for node in makers for top in node.tops):
            continue  # a step would overwrite something else as well
        if any(node.state or not node.kind.recomputable for node in makers):
            continue
        bottoms = [lives.data[blobs[value.root].data_id] for node in makers for value in node.bottoms]
        problem.sources[array] = [source for source in bottoms if source is not array and source in pooled]
        problem.seconds[array] = sum(_seconds(node) for node in makers)
    return problem


def fit(problem: Problem, limit: int) -> Schedule:
    """Drop arrays until the arena has at most `limit` bytes.

    What is dropped does not depend on the limit, only when to stop does: less memory never runs fewer steps
    again.

    Raises
    ------
    DoesNotFit
    """
    dropped: Dropped = frozenset()
    smallest = make_schedule(problem, dropped)
    while True:
        schedule = make_schedule(problem, dropped)
        if _peak(problem, schedule) <= limit and _packed_bytes(problem, schedule) <= limit:
            return schedule
        smallest = min(smallest, schedule, key=lambda each: _peak(problem, each))
        more = _best(problem, dropped)
        if more is None:
            raise DoesNotFit(_packed_bytes(problem, smallest))
        dropped |= more


def make_schedule(problem: Problem, dropped: Dropped) -> Schedule:
    """A dropped array is made again when backward first reads it; until then its sources must live."""
    reads = {array: [m for m in array.moments if m >= problem.steps] for array in problem.arrays}
    again: dict[Array, int] = {}
    for array, sources in problem.sources.items():
        if array in dropped and reads[array]:
            again[array] = min(reads[array])
            for source in sources:
                reads[source].append(again[array])
    return Schedule([_spans(problem, array, reads[array], again) for array in problem.arrays], again)


def steps_again(graph: Graph, again: Mapping[Array, int]) -> dict[int, list[int]]:
    """Steps to run forward once more, by the step whose backward comes next."""
    found: dict[int, set[int]] = {}
    for array, moment in again.items():
        found.setdefault(backward_moment(graph, moment), set()).update(array.makers)
    return {step: sorted(makers) for step, makers in found.items()}


def _spans(problem: Problem, array: Array, reads: list[int], again: Mapping[Array, int]) -> list[Span]:
    if array not in again:
        moments = [*array.moments, *reads]
        return [(min(moments), max(moments))]
    forward = [moment for moment in array.moments if moment < problem.steps]
    return [(min(forward), max(forward)), (again[array], max(reads))]


def _best(problem: Problem, dropped: Dropped) -> Dropped | None:
    """What to drop next: most bytes off the peak, and off moments nearly as bad, for the time."""
    schedule = make_schedule(problem, dropped)
    alive, seconds = _alive(problem, schedule), _cost(problem, schedule)
    target = int(_NEARLY * alive.max())
    too_much = _excess(alive, target)
    best, best_rate = None, 0.0
    for choice in _choices(problem, dropped, alive > target):
        changed = make_schedule(problem, dropped | choice)
        gain = too_much - _excess(_alive(problem, changed), target)
        rate = gain / max(_cost(problem, changed) - seconds, 1e-9)
        if gain > 0 and rate > best_rate:
            best, best_rate = choice, rate
    return best


def _choices(problem: Problem, dropped: Dropped, full: npt.NDArray[np.bool_]) -> Iterator[Dropped]:
    """Arrays that wait for backward while there is too much, with what would have to wait in their place."""
    for array in problem.sources:
        reads = [moment for moment in array.moments if moment >= problem.steps]
        if array in dropped or not reads:
            continue
        last = max(moment for moment in array.moments if moment < problem.steps)
        if full[last + 1 : min(reads)].any():
            yield _with_sources(problem, array)


def _with_sources(problem: Problem, array: Array) -> Dropped:
    """An array and those of its sources that backward does not read: to keep them would save nothing."""
    found = {array}
    for source in problem.sources[array]:
        if source in problem.sources and all(moment < problem.steps for moment in source.moments):
            found |= _with_sources(problem, source)
    return frozenset(found)


def _alive(problem: Problem, schedule: Schedule) -> npt.NDArray[Any]:
    """Bytes in use at each moment."""
    change = np.zeros(2 * problem.steps + 1, np.int64)
    for array, spans in zip(problem.arrays, schedule.spans):
        for begin, end in spans:
            change[begin] += array.bytes
            change[end + 1] -= array.bytes
    return np.cumsum(change)


def _excess(alive: npt.NDArray[Any], target: int) -> float:
    """Bytes above the target, summed over all moments: it falls with every array, also beside others."""
    return float(np.maximum(alive - target, 0).sum())


def _peak(problem: Problem, schedule: Schedule) -> int:
    return int(_alive(problem, schedule).max())


def _cost(problem: Problem, schedule: Schedule) -> float:
    return sum(problem.seconds[array] for array in schedule.again)


def _packed_bytes(problem: Problem, schedule: Schedule) -> int:
    sizes = [array.bytes for array in problem.arrays]
    return arena_bytes(sizes, pack(sizes, schedule.spans))


def _seconds(node: Node) -> float:
    moved = 4 * sum(prod(value.shape) for value in (*node.bottoms, *node.tops))
    return node.kind.flops(node) / _FLOPS_PER_SECOND + moved / _BYTES_PER_SECOND
