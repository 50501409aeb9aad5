"""The chain of passes, and the executor made from their result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

from .. import _core as core
from ..errors import ConfigError
from ..graph.nodes import Graph, Node, Value
from .arena import place
from .direct import sum_directly
from .dropout import remove_dropout
from .fusion import fuse_layers
from .gradient_sums import add_in_place
from .layout import assign_layouts, keep_plain
from .liveness import Array, Lives, find_lives
from .memory import measure
from .placement import place_layers
from .precision import assign_precision
from .recompute import DoesNotFit, fit, make_problem, steps_again
from .relu_pooling import mask_in_pooling
from .residual import fuse_sums

PASSES = {
    "dropout": "Dropout that passes its bottom on, in a net that only tests, is taken out",
    "fusion": "neighbouring layers run as one step",
    "residual": "a step adds the rest of the sum that follows it, where the data between is not kept",
    "relu_pooling": "max pooling masks the gradient for the ReLU below it, where no blob is kept",
    "winograd": "convolutions may use Winograd's algorithm; without it all are direct sums",
    "precision": "activations are bfloat16 where that was asked for",
    "layout": "4-D and 5-D blobs are channels-last; without it all are plain",
    "gradient_sums": "convolutions on a GPU add to the gradients of a blob's other readers, if none is kept",
    "memory": "arrays that are not kept take turns in memory",
}
"""The passes that may be left out, in the order they run."""

JOINING_PASSES = ("fusion", "residual")
"""Those that let one step run several declared layers."""


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
    arena : core.Storage
        Where arrays that are not kept take turns.
    again : dict of int to list of int
        Steps that run forward once more, in order, before the backward of a step.
    """

    graph: Graph
    blobs: dict[Value, core.Blob]
    executor: core.Executor
    arena: core.Storage
    again: dict[int, list[int]] = dataclasses.field(default_factory=dict)

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
    device: str = "cpu",
    skip_passes: Collection[str] = (),
    keep_data: bool = True,
    keep_diffs: bool = True,
    max_memory: int | None = None,
    reserved: int = 0,
    seed: int = 0,
    keep: Mapping[str, core.Blob] | None = None,
    watch: Callable[[str, Graph], None] | None = None,
) -> Plan:
    """Plan a graph.

    Parameters
    ----------
    declared : Graph
        Left as it is; passes work on a copy.
    precision : {"float32", "tf32", "bfloat16"}
        Element type of activations; "tf32" is float32 whose matrix layers round factors on the GPU.
    device : {"cpu", "cuda"}
        What the graph was built for.
    skip_passes : collection of str
        Names of `PASSES` to leave out.
    keep_data, keep_diffs : bool
        Keep the data of all blobs after forward, and their gradients after backward; False lets those of
        intermediate blobs take turns in memory. A net for testing whose data is not kept has no backward.
    max_memory : int, optional
        Bytes that the plan may need. Where it would need more, data is dropped after forward and made again
        for backward. Only if neither data nor diffs are kept.
    reserved : int
        Bytes within `max_memory` that somebody else needs.
    seed : int
        Seed of the layers' random numbers.
    keep : mapping of str to core.Blob, optional
        Blobs of an earlier plan of the same net, used again where name and form are equal.
    watch : callable, optional
        Called as ``watch(name, graph)`` with the declared graph and after each pass.

    Raises
    ------
    ConfigError
        There is no pass or precision of that name, or `max_memory` is too little.
    """
    check_passes(skip_passes)
    if device != "cpu" and "layout" in skip_passes:
        raise ConfigError("the pass 'layout' cannot be left out on the GPU, whose kernels are channels-last")
    if max_memory is not None and (keep_data or keep_diffs):
        raise ConfigError("max_memory does not go with blobs that are kept", hint=_NOT_KEPT)
    passes: dict[str, Callable[[Graph], Graph]] = {
        "declared": lambda graph: _copy(graph, backward=keep_data or graph.training),
        "placement": place_layers,
        "dropout": remove_dropout,
        "fusion": fuse_layers,
        "residual": _unchanged if keep_data else fuse_sums,
        "relu_pooling": _unchanged if keep_data or keep_diffs else mask_in_pooling,
        "winograd": _unchanged,
        "precision": lambda graph: assign_precision(graph, precision, device),
        "layout": assign_layouts,
        "gradient_sums": _unchanged if keep_diffs else add_in_place,
    }
    graph = declared
    for name, run in passes.items():
        graph = _WITHOUT.get(name, _unchanged)(graph) if name in skip_passes else run(graph)
        if watch:
            watch(name, graph)
    blobs = _make_blobs(graph, keep or {})
    executor = core.Executor([_step(node, blobs) for node in graph.nodes], seed)
    executor.reshape()
    lives = find_lives(graph, blobs)
    share = "memory" not in skip_passes
    arrays = _not_kept(lives, device, data=share and not keep_data, diffs=share and not keep_diffs)
    plan = Plan(graph, blobs, executor, place(arrays, [[array.span] for array in arrays], device))
    if max_memory is not None:
        _fit(plan, lives, arrays, max_memory, reserved)
    return plan


def _not_kept(lives: Lives, device: str, *, data: bool, diffs: bool) -> list[Array]:
    """Arrays on the device that take turns."""
    arrays = [*(lives.data.values() if data else ()), *(lives.diffs.values() if diffs else ())]
    return [array for array in arrays if array.written and not array.kept and array.blobs[0].device == device]


def _fit(plan: Plan, lives: Lives, arrays: list[Array], max_memory: int, reserved: int) -> None:
    """Let the plan make data again rather than need more than `max_memory` bytes."""
    fixed = reserved + measure(plan).total - plan.arena.bytes
    if fixed + plan.arena.bytes <= max_memory:
        return
    try:
        schedule = fit(make_problem(plan.graph, plan.blobs, lives, arrays), max_memory - fixed)
    except DoesNotFit as error:
        raise ConfigError(
            f"the net does not fit into {max_memory:,} bytes, it needs {fixed + error.smallest:,}",
            hint="allow more, or use a smaller batch",
        ) from None
    plan.arena = place(arrays, schedule.spans, arrays[0].blobs[0].device)
    plan.again = steps_again(plan.graph, schedule.again)
    for step, again in plan.again.items():
        plan.executor.recompute_before(step, again)


def check_passes(names: Collection[str]) -> None:
    """Refuse names of passes that there are not."""
    for name in names:
        if name not in PASSES:
            raise ConfigError(f"there is no pass '{name}' to skip", hint=f"known passes: {', '.join(PASSES)}")


def _unchanged(graph: Graph) -> Graph:
    return graph


_NOT_KEPT = "build with keep_data=False and keep_diffs=False as well"
_WITHOUT = {
    "layout": keep_plain,
    "winograd": sum_directly,
}  # what runs in place of a pass that is left out, if anything


def _copy(graph: Graph, *, backward: bool) -> Graph:
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
            loss_weights=list(node.loss_weights),
            propagate_down=[flag and backward for flag in node.propagate_down],
            need_backward=node.need_backward and backward,
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
    if old is None or old.data_pooled:
        return core.Blob(value.shape, value.dtype, value.layout, value.device)
    fresh = core.Blob(old.shape, value.dtype, value.layout, value.device)
    if (old.dtype, old.layout, old.device) != (fresh.dtype, fresh.layout, fresh.device):
        return core.Blob(value.shape, value.dtype, value.layout, value.device)
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
