"""When the arrays of a plan are needed, in moments of one forward and one backward pass.

Of n steps, step i runs forward at moment i and backward at moment 2 n - 1 - i.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .. import _core as core
from ..facts import Reads
from ..graph.nodes import Graph, Node, Value

Span = tuple[int, int]


@dataclass(eq=False)
class Array:
    """The data, or the gradient, of blobs that share it.

    Attributes
    ----------
    blobs : list of core.Blob
    is_diff : bool
    moments : list of int
        When a step reads or writes it.
    makers : list of int
        Steps that write it forward, in order.
    kept : bool
        Somebody outside the plan may look at it.
    written : bool
        Whether any step writes it: a gradient that nobody writes takes no memory.
    """

    blobs: list[core.Blob]
    is_diff: bool
    moments: list[int] = field(default_factory=list)
    makers: list[int] = field(default_factory=list)
    kept: bool = False
    written: bool = False

    @cached_property
    def bytes(self) -> int:
        """Size of the largest of the blobs."""
        return max(int(blob.bytes) for blob in self.blobs)

    @property
    def span(self) -> Span:
        """First and last moment of use."""
        return min(self.moments), max(self.moments)


@dataclass
class Lives:
    """All arrays of a plan.

    Attributes
    ----------
    data, diffs : dict of int to Array
        By `data_id` and `diff_id` of the blobs.
    """

    data: dict[int, Array] = field(default_factory=dict)
    diffs: dict[int, Array] = field(default_factory=dict)


def backward_moment(graph: Graph, step: int) -> int:
    """When a step runs backward."""
    return 2 * len(graph.nodes) - 1 - step


def find_lives(graph: Graph, blobs: Mapping[Value, core.Blob]) -> Lives:
    """Follow all arrays through a plan whose executor was reshaped: layers have shared what they share."""
    lives = Lives()
    for step, node in enumerate(graph.nodes):
        moment = backward_moment(graph, step)
        read = read_in_backward(node)
        for index, value in enumerate([*node.bottoms, *node.tops]):
            is_top = index >= len(node.bottoms)
            data, diff = _arrays(lives, blobs[value.root])
            data.moments += [step, moment] if value in read else [step]
            diff.moments.append(moment)
            diff.written |= node.need_backward and not is_top and node.propagate_down[index]
            data.kept |= node.kind.runs_user_code or (is_top and is_kept(graph, node, value))
            diff.kept |= is_kept(graph, node, value)
            if is_top:
                data.written = True
                data.makers += [step] if step not in data.makers else []
    return lives


def _arrays(lives: Lives, blob: core.Blob) -> tuple[Array, Array]:
    """Data and gradient of a blob."""
    data = lives.data.setdefault(blob.data_id, Array([], False))
    diff = lives.diffs.setdefault(blob.diff_id, Array([], True))
    for array in (data, diff):
        if all(blob is not other for other in array.blobs):
            array.blobs.append(blob)
    return data, diff


def read_in_backward(node: Node) -> list[Value]:
    """Find the bottoms and tops whose data backward of a step reads."""
    reads = _backward_reads(node)
    bottoms, tops = enumerate(zip(node.bottoms, node.bottom_facts)), enumerate(zip(node.tops, node.top_facts))
    return [
        *(value for index, (value, fact) in bottoms if reads.bottom(index, fact)),
        *(value for index, (value, fact) in tops if reads.top(index, fact)),
    ]


def _backward_reads(node: Node) -> Reads:
    return node.kind.backward_reads_of(node) if node.need_backward else Reads()


def is_kept(graph: Graph, node: Node, value: Value) -> bool:
    """Inputs, outputs, losses, and whatever the outside fills or reads: sources, layers written in Python."""
    named = not value.hidden and (value.name in graph.inputs or value.name in graph.outputs)
    weighs = any(weight and top is value for weight, top in zip(node.loss_weights, node.tops))
    return named or weighs or not node.bottoms or node.kind.runs_user_code
