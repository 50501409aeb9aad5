"""Making a plan: the chain of passes, lowering, and places in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..errors import ConfigError
from ..graph.nodes import Graph, Value
from .arena import place
from .chain import chain, check_passes
from .liveness import Array, Lives, find_lives
from .lower import lower
from .memory import measure
from .options import NetOptions
from .plan import Plan
from .recompute import DoesNotFit, fit, make_problem, steps_again

_NOT_KEPT = "build with keep_data=False and keep_diffs=False as well"


def make_plan(
    declared: Graph,
    options: NetOptions,
    *,
    reserved: int = 0,
    seed: int = 0,
    earlier: Plan | None = None,
    watch: Callable[[str, Graph], None] | None = None,
) -> Plan:
    """Plan a graph.

    Parameters
    ----------
    declared : Graph
        Left as it is; passes work on a copy.
    options : NetOptions
        With its device, for which the graph was built.
    reserved : int
        Bytes within `max_memory` that somebody else needs.
    seed : int
        Seed of the layers' random numbers.
    earlier : Plan, optional
        Plan of the same net whose blobs and layers are used again where they fit.
    watch : callable, optional
        Called as ``watch(name, graph)`` with the declared graph and after each pass.

    Raises
    ------
    ConfigError
        There is no pass or precision of that name, or `max_memory` is too little.
    """
    _check(options)
    graph = _copy(declared, backward=options.keep_data or declared.training)
    if watch:
        watch("declared", graph)
    for each in chain():
        run = each.instead if each.name in options.skip_passes else each.run
        graph = run(graph, options)
        if watch:
            watch(each.name, graph)
    plan = lower(graph, seed, earlier)
    lives = find_lives(graph, plan.blobs)
    arrays = _not_kept(lives, options)
    spans = [[array.span] for array in arrays]
    plan.arena, plan.places = place(arrays, spans, options.device or "cpu")
    if options.max_memory is not None:
        _fit(plan, lives, arrays, options.max_memory, reserved)
    return plan


def _check(options: NetOptions) -> None:
    check_passes(options.skip_passes)
    if options.device == "cuda" and "layout" in options.skip_passes:
        raise ConfigError("the pass 'layout' cannot be left out on the GPU, whose kernels are channels-last")
    if options.max_memory is not None and (options.keep_data or options.keep_diffs):
        raise ConfigError("max_memory does not go with blobs that are kept", hint=_NOT_KEPT)


def _not_kept(lives: Lives, options: NetOptions) -> list[Array]:
    """Arrays on the device that take turns."""
    if "memory" in options.skip_passes:
        return []
    data = [] if options.keep_data else lives.data.values()
    diffs = [] if options.keep_diffs else lives.diffs.values()
    device = options.device or "cpu"
    return [
        array
        for array in [*data, *diffs]
        if array.written and not array.kept and array.blobs[0].device == device
    ]


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
    plan.arena, plan.places = place(arrays, schedule.spans, arrays[0].blobs[0].device)
    plan.again = steps_again(plan.graph, schedule.again)
    for step, again in plan.again.items():
        plan.executor.recompute_before(step, again)


def _copy(graph: Graph, *, backward: bool) -> Graph:
    """Copy nodes and values; params, states and definitions stay the same objects."""
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
