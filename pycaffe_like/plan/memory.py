"""How many bytes a plan needs, exactly, before any of them is allocated."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .. import _core as core
from ..graph.nodes import Node, Value
from .plan import Plan


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose.

    Attributes
    ----------
    data, diffs
        Of blobs between layers. Diffs only where backward writes or reads them, and where a loss has its
        weights.
    params, param_diffs
        Of learned blobs.
    private
        What layers keep for themselves: masks, packed weights, statistics, states.
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


@dataclass(frozen=True)
class _Array:
    """Data or diff of a blob with memory of its own."""

    bytes: int
    device: str
    allocated: bool


_Arrays = dict[int, _Array]  # by identity: blobs may share one


def measure(plan: Plan) -> Memory:
    """Add up what the plan will allocate when it runs; arrays that share memory count once."""
    sizes = {
        purpose: sum(array.bytes for array in arrays.values()) for purpose, arrays in _arrays(plan).items()
    }
    return Memory(
        **sizes,
        private=sum(_private_bytes(plan, device) for device in ("cpu", "cuda")),
        arena=plan.arena.bytes,
        scratch=sum(plan.executor.scratch_bytes(device) for device in ("cpu", "cuda")),
    )


def bytes_to_come(plan: Plan, device: str) -> int:
    """Add up what the plan has not allocated yet on a device, and all of scratch and what layers keep."""
    arrays = [array for arrays in _arrays(plan).values() for array in arrays.values()]
    arrays.append(_Array(plan.arena.bytes, plan.arena.device, plan.arena.allocated))
    return (
        sum(array.bytes for array in arrays if array.device == device and not array.allocated)
        + _private_bytes(plan, device)
        + plan.executor.scratch_bytes(device)
    )


def _private_bytes(plan: Plan, device: str) -> int:
    """What layers on a device keep, and their states."""
    steps = [each for each in zip(plan.graph.nodes, plan.layers) if each[0].device == device]
    kept = sum(layer.private_bytes(node.need_backward) for node, layer in steps)
    return kept + sum(blob.bytes for node, _ in steps for blob in node.state)


def _arrays(plan: Plan) -> dict[str, _Arrays]:
    """Find all arrays outside the arena, by purpose."""
    data: _Arrays = {}
    diffs: _Arrays = {}
    for node in plan.graph.nodes:
        for value in [*node.bottoms, *node.tops]:
            blob = plan.blobs[value.root]
            if not blob.data_pooled:
                data[blob.data_id] = _data_of(blob)
        for value in _with_diff(node):
            blob = plan.blobs[value.root]
            if not blob.diff_pooled:
                diffs[blob.diff_id] = _diff_of(blob)
    params = {param.blob.data_id: _data_of(param.blob) for param in plan.graph.params}
    for identity in params:  # a learned blob may be a top
        data.pop(identity, None)
    learned = {
        param.blob.diff_id: _diff_of(param.blob)
        for node in plan.graph.nodes
        for param, flag in zip(node.params, node.param_propagate_down)
        if flag and node.need_backward and param.learned
    }
    return {"data": data, "diffs": diffs, "params": params, "param_diffs": learned}


def _with_diff(node: Node) -> list[Value]:
    """Find the values of a step whose diff is written or read. A source of data has no backward."""
    if not node.need_backward or not (node.bottoms or node.params):
        return [top for top, weight in zip(node.tops, node.loss_weights) if weight]
    return [*node.tops, *(value for value, flag in zip(node.bottoms, node.propagate_down) if flag)]


def _data_of(blob: core.Blob) -> _Array:
    return _Array(blob.bytes, blob.device, blob.data_allocated)


def _diff_of(blob: core.Blob) -> _Array:
    return _Array(blob.bytes, blob.device, blob.diff_allocated)
