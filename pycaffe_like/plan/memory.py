"""How many bytes a plan needs, exactly, before any of them is allocated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose.

    Attributes
    ----------
    data, diffs
        Of blobs between layers. Diffs only where backward writes or reads them.
    params, param_diffs
        Of learned blobs.
    private
        What layers keep for themselves: masks, packed weights, statistics.
    arena
        Data and diffs that are not kept and take turns.
    scratch
        The one buffer that layers take turns to use.
    """

    data: int
    diffs: int
    params: int
    param_diffs: int
    private: int
    arena: int
    scratch: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return sum(getattr(self, field.name) for field in fields(self))


def measure(plan: Plan) -> Memory:
    """Add up what the plan will allocate when it runs; arrays that share memory count once."""
    data: dict[int, int] = {}
    diffs: dict[int, int] = {}
    for node in plan.graph.nodes:
        for value in [*node.bottoms, *node.tops]:
            blob = plan.blobs[value.root]
            if not blob.data_pooled:
                data[blob.data_id] = blob.bytes
        if not node.need_backward:
            continue
        wanted = [value for value, flag in zip(node.bottoms, node.propagate_down) if flag]
        for value in [*node.tops, *wanted]:
            blob = plan.blobs[value.root]
            if not blob.diff_pooled:
                diffs[blob.diff_id] = blob.bytes
    params = {param.blob.data_id: param.blob.bytes for param in plan.graph.params}
    learned = {
        param.blob.diff_id: param.blob.bytes
        for node in plan.graph.nodes
        for param, flag in zip(node.params, node.param_propagate_down)
        if flag and node.need_backward and param.learned
    }
    return Memory(
        data=sum(data.values()),
        diffs=sum(diffs.values()),
        params=sum(params.values()),
        param_diffs=sum(learned.values()),
        private=sum(node.layer.private_bytes(node.need_backward) for node in plan.graph.nodes),
        arena=plan.arena.bytes,
        scratch=plan.executor.scratch_bytes,
    )
