"""Roofline: how near every planned step comes to what the machine can do at best.

A step that does F operations on B bytes takes at least max(F / peak, B / bandwidth): the larger of the two
times is its roof, and its share of the roof is that time over the measured one. F counts the direct algorithm
for convolutions, forward by the rules of `flops`; a gradient with respect to a matrix layer's weights or
bottom costs as much as its forward, any other gradient as much as the forward pass. B is compulsory traffic:
what has to be read once and written once if nothing stays in a cache. Data that does stay there lets a step
rise above its roof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import _core as core
from .graph.nodes import Node, Value
from .plan.liveness import read_in_backward
from .pycaffe.net import Net

SHORTEST_MS = 1e-3
LOW = 0.5  # of the roof; the summary adds up the steps below it

_LARGEST_COPY = 1 << 28


@dataclass(frozen=True)
class Work:
    """Operations of one step in one direction, and the bytes it has to read and to write."""

    flops: int
    bytes: int


@dataclass(frozen=True)
class Machine:
    """The two roofs: GFLOP/s of each element type that has multiply-adds, and GB/s of a copy."""

    gflops: Mapping[str, float]
    gbytes: float

    @classmethod
    def measure(cls, working_set: int) -> Machine:
        """Measure now, in about a second; the copy is as large as the working set, up to 256 MiB."""
        rates = {dtype: core.peak_gflops(dtype) for dtype in ("float32", "bfloat16")}
        bandwidth = core.copy_gbytes_per_second(min(working_set, _LARGEST_COPY))
        return cls({dtype: rate for dtype, rate in rates.items() if rate}, bandwidth)


@dataclass(frozen=True)
class Row:
    """One step in one direction.

    Attributes
    ----------
    name, type, direction : str
        The step, the type of its first layer, and "forward" or "backward".
    work : Work
    seconds : float
        What it took.
    least_seconds : float
        What it would take under the roof; 0 for a step without work.
    """

    name: str
    type: str
    direction: str
    work: Work
    seconds: float
    least_seconds: float

    @property
    def share(self) -> float | None:
        """Attained part of the roof; None for a step that has none, or was too short to be timed."""
        return self.least_seconds / self.seconds if self.least_seconds and self.seconds else None


def roofline(net: Net, times: Sequence[tuple[float, float]], machine: Machine) -> list[Row]:
    """Put the measured times of all steps beside their roofs.

    Parameters
    ----------
    net : Net
        The net whose steps were timed.
    times : sequence of (float, float)
        Forward and backward milliseconds of each planned step.
    machine : Machine
        Its peaks.

    Returns
    -------
    list of Row
        In the net's order, forward and backward of a step after each other, without those that took less than
        a microsecond.
    """
    rows: list[Row] = []
    declared = {node.name: node for node in net.graph.nodes}
    for node, milliseconds in zip(net.plan.graph.nodes, times):
        members = [declared[name] for name in node.members]
        works = (_forward(net, node, members), _backward(net, node, members))
        for direction, work, ms in zip(("forward", "backward"), works, milliseconds):
            if ms >= SHORTEST_MS:
                least = max(work.flops / (1e9 * _peak(node, machine)), work.bytes / (1e9 * machine.gbytes))
                rows.append(Row(node.name, node.definition.type, direction, work, 1e-3 * ms, least))
    return rows


def _peak(node: Node, machine: Machine) -> float:
    """Matrix layers multiply in the type they read; everything else computes in float32."""
    dtype = node.bottoms[0].dtype if _multiplies(node) else "float32"
    return machine.gflops.get(dtype, machine.gflops["float32"])


def _multiplies(node: Node) -> bool:
    return node.kind.precision == "matrix"


def _forward(net: Net, node: Node, members: list[Node]) -> Work:
    flops = sum(node.kind.flops(node) for node in members)
    if not node.bottoms:
        return Work(flops, 0)  # where data comes from is no matter of memory
    bottoms, tops = _moved(net, node)
    return Work(flops, _data_bytes(net, bottoms) + _data_bytes(net, tops) + _param_bytes(node))


def _moved(net: Net, node: Node) -> tuple[list[Value], list[Value]]:
    """Bottoms that are read and tops that are written: not those that only pass their memory on."""
    memory = {net.plan.blob(bottom).data_id: bottom.root for bottom in node.bottoms}
    views = [
        top for top in node.tops
        if memory.get(net.plan.blob(top).data_id, top.root) is not top.root
    ]  # fmt: skip
    passed = {net.plan.blob(top).data_id for top in views}
    bottoms = [bottom for bottom in node.bottoms if net.plan.blob(bottom).data_id not in passed]
    return bottoms, [top for top in node.tops if top not in views]


def _backward(net: Net, node: Node, members: list[Node]) -> Work:
    wanted = [value for value, flag in zip(node.bottoms, node.propagate_down) if flag]
    learned = [param for param, flag in zip(node.params, node.param_propagate_down) if flag and param.learned]
    if not (wanted or learned) or _passes_diff_on(net, node, wanted):
        return Work(0, 0)
    passes = bool(wanted) + bool(learned) if _multiplies(node) else 1
    read = _diff_bytes(net, node.tops) + _data_bytes(net, read_in_backward(node))
    if wanted:
        read += _param_bytes(node)
    written = _diff_bytes(net, wanted) + sum(int(param.blob.bytes) for param in learned)
    return Work(passes * sum(node.kind.flops(node) for node in members), read + written)


def _passes_diff_on(net: Net, node: Node, wanted: list[Value]) -> bool:
    """Whether the gradient of a bottom is that of a top, in the same memory, though not in place."""
    tops = {net.plan.blob(top).diff_id: top.root for top in node.tops}
    return any(tops.get(net.plan.blob(value).diff_id, value.root) is not value.root for value in wanted)


def _data_bytes(net: Net, values: list[Value]) -> int:
    """Bytes of the blobs, each once."""
    blobs = [net.plan.blob(value) for value in values]
    return sum({blob.data_id: int(blob.bytes) for blob in blobs}.values())


def _diff_bytes(net: Net, values: list[Value]) -> int:
    """Bytes of those gradients that exist."""
    return sum(int(net.plan.blob(value).bytes) for value in values if value.need_backward)


def _param_bytes(node: Node) -> int:
    return sum(int(param.blob.bytes) for param in node.params)


def table(rows: Sequence[Row], machine: Machine) -> Iterator[str]:
    """Lines: the machine's peaks, one line a row, and how much of the step lies far below the roof."""
    peaks = ", ".join(f"{rate:,.0f} GFLOP/s in {dtype}" for dtype, rate in machine.gflops.items())
    yield f"peaks on {core.thread_count()} threads: {peaks}; {machine.gbytes:,.0f} GB/s"
    width = max([len("step"), *(len(row.name) for row in rows)])
    titles = ("MFLOP", "MB", "ms", "% of all", "GFLOP/s", "GB/s", "FLOP/B", "% of roof")
    yield f"{'step':<{width}}  {'type':<15}  {'pass':<8}" + "".join(f"{title:>11}" for title in titles)
    total = sum(row.seconds for row in rows)
    for row in rows:
        yield f"{row.name:<{width}}  {row.type:<15}  {row.direction:<8}" + _numbers(row, total)
    low = sum(row.seconds for row in rows if row.share is not None and row.share < LOW)
    if rows:
        yield f"{low / total:.0%} of the time passes in steps below {LOW:.0%} of their roof"


def _numbers(row: Row, total: float) -> str:
    work, seconds = row.work, row.seconds
    intensity = f"{work.flops / work.bytes:.1f}" if work.bytes else "-"
    share = f"{row.share:.0%}" if row.share is not None else "-"
    cells = (
        f"{work.flops / 1e6:,.1f}", f"{work.bytes / 1e6:,.2f}", f"{seconds * 1e3:,.3f}",
        f"{seconds / total:.1%}", f"{work.flops / seconds / 1e9:,.1f}", f"{work.bytes / seconds / 1e9:,.1f}",
        intensity, share,
    )  # fmt: skip
    return "".join(f"{cell:>11}" for cell in cells)
