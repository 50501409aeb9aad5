"""`caffe summary`: shows what a net is made of and what it costs, without running it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from .. import _core as core
from ..errors import ConfigError
from ..graph.flops import forward_flops
from ..graph.nodes import Graph, Node
from ..net import TEST, TRAIN
from ..plan.make import make_plan
from ..plan.options import NetOptions
from ..plan.printout import describe
from ..prototxt.upgrade import read_solver
from ..pycaffe.net import Net
from ..solver.checks import TRAIN_SOURCES, check_type
from .common import (
    CODE,
    GPU,
    MEMORY,
    PLAN,
    STATE,
    allow_code,
    max_memory,
    parse_phase,
    plan_options,
    stages,
    use_device,
)
from .flags import Flag, format_usage, parse_flags

SUMMARY = "Show a net's layers, shapes, operations and bytes."
ARGUMENTS = "summary -model FILE | -solver FILE [flags]"
FLAGS = {
    "model": Flag("", "net prototxt"),
    "solver": Flag("", "solver prototxt: its net in phase TRAIN, and the bytes of its history"),
    "phase": Flag("", "phase to build for: TRAIN or TEST (default TEST, with -solver TRAIN)"),
    **STATE,
    **PLAN,
    **CODE,
    **MEMORY,
    **GPU,
    "plan": Flag(False, "show the plan as well: the steps as declared, and after each pass"),
    "help": Flag(False, "show this text"),
}


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    logging.getLogger("caffe").setLevel(logging.WARNING)  # the table says it shorter than the log of set-up
    allow_code(flags)
    use_device(flags["gpu"])
    model, history_sets = _model(flags)
    phase = parse_phase(flags["phase"], TRAIN if flags["solver"] else TEST)
    training = bool(
        flags["solver"] or flags["max_memory"]
    )  # planned as `caffe train` plans it: gradients take turns
    net = Net(
        model,
        phase,
        flags["level"],
        stages(flags["stage"]),
        **plan_options(flags),
        max_memory=max_memory(flags),
        history_sets=history_sets,
        fill=False,
        keep_data=not training,
        keep_diffs=not training,
    )
    try:
        for line in summary(net, history_sets):
            print(line)
        if flags["plan"]:
            _print_plan(net, plan_options(flags))
    finally:
        net.close()
    return 0


def _print_plan(net: Net, options: dict[str, Any]) -> None:
    """Print the steps as declared, and after each pass that changes them."""
    shown: list[str] = []

    def show(name: str, graph: Graph) -> None:
        steps = list(describe(graph))
        if steps != shown:
            print(f"\nplan, {name}:", *steps, sep="\n  ")
            shown[:] = steps

    make_plan(net.graph, NetOptions(device=net.device, **options), watch=show)


def _model(flags: dict[str, Any]) -> tuple[str, int]:
    """File of the net, and how many history blobs a learned blob has (0 without a solver)."""
    if not flags["solver"]:
        if not flags["model"]:
            raise ConfigError("flag -model is missing", hint="add -model FILE or -solver FILE")
        return flags["model"], 0
    solver = read_solver(flags["solver"])
    param = solver.message
    check_type(solver, param.type)
    sets = core.history_sets(param.type)
    if flags["model"]:
        return flags["model"], sets
    field = next((field for field in TRAIN_SOURCES if param.HasField(field)), "net")
    if field.endswith("_param") or not getattr(param, field):
        raise ConfigError(f"{flags['solver']} names no net file", hint="add -model FILE")
    return getattr(param, field), sets


def summary(net: Net, history_sets: int = 0) -> Iterable[str]:
    """Lines of the table, then totals, then bytes by purpose."""
    nodes = net.graph.nodes
    yield f"{net.name or 'net'} ({'TRAIN' if net.phase == TRAIN else 'TEST'}, {net.precision})"
    rows = [("layer", "type", "tops", "params", "FLOPs"), *(_row(node) for node in nodes)]
    total = sum(param.blob.count for param in net.graph.learnable)
    rows.append(("total", "", "", f"{total:,}", f"{forward_flops(net.graph):,}"))
    yield from _aligned(rows, numbers=2)
    yield from _bytes(net, history_sets)


def _row(node: Node) -> tuple[str, ...]:
    shapes = " ".join("x".join(map(str, top.shape)) or "1" for top in node.tops)
    params = sum(param.blob.count for param in node.params if param.owner is None)
    definition = node.definition
    return definition.name, definition.type, shapes, f"{params:,}", f"{node.kind.flops(node):,}"


def _bytes(net: Net, history_sets: int) -> Iterable[str]:
    memory = net.memory()
    history = history_sets * sum(param.blob.bytes for param in net.graph.learnable)
    purposes = [
        ("data", memory.data),
        ("gradients of data", memory.diffs),
        ("data and gradients that take turns", memory.arena),
        ("params", memory.params),
        ("gradients of params", memory.param_diffs),
        *([("history", history)] if history_sets else []),
        ("layers' own", memory.private),
        ("scratch", memory.scratch),
    ]
    rows = [("bytes of", ""), *((name, f"{count:,}") for name, count in purposes)]
    rows.append(("total", f"{memory.total + history:,}"))
    yield ""
    yield from _aligned(rows, numbers=1)
    if recomputed := net.recomputed():
        yield f"made again for backward, to save memory: {', '.join(recomputed)}"


def _aligned(rows: Sequence[Sequence[str]], numbers: int) -> Iterable[str]:
    """Pad columns to equal width; the last `numbers` columns are numbers and go to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        texts = len(row) - numbers
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:texts], widths)]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[texts:], widths[texts:])]
        yield "  ".join(cells)
