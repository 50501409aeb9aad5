"""Step: how near the memory-bound kernels come to the bandwidth of a copy, each alone, in bfloat16.

Which layers, their tests say (TIMED in tests/layers). Bytes are those that the operation cannot do without,
each operand read or written once; a BatchNorm that trains reads its bottoms twice, since the sums come first.

``python -m benchmarks.gpu_check.kernels [--small]``
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine_ours import sgd_settings
from pycaffe_like import _core as core
from pycaffe_like.graph.build import build_graph
from pycaffe_like.graph.nodes import Node
from pycaffe_like.layer_type import layer_types
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt.upgrade import parse_net

from .figures import Figures, figures_of

TESTS = Path(__file__).parents[2] / "tests"
Shape = tuple[int, ...]
REPEATS = 30
RANDOM_VALUES = 1 << 20
WARM_UP = 3
PARAMS = 1 << 26
SMALL = 512  # divides the batch in a rehearsal


@dataclass(frozen=True)
class Case:
    """A layer alone: its name in the report, its type, and what the type's tests tell of it."""

    name: str
    type: str
    timed: Any


def cases() -> list[Case]:
    """List all layers that the tests of the types want timed."""
    sys.path.append(str(TESTS))
    from helpers.layer_facts import told

    return [
        Case(", ".join(filter(None, (kind, words))), kind, timed)
        for kind in layer_types()
        for words, timed in told(kind, "TIMED").items()
    ]


def main() -> int:
    """Measure all beside the bandwidth that the step `device` found; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    figures = Figures()
    core.use_accelerator()
    copy = figures_of("device").get("copy_gbytes")
    rows: dict[str, Any] = {}

    def note(name: str, size: int, milliseconds: float) -> None:
        rate = size / milliseconds / 1e6
        share = round(rate / copy, 3) if copy else None
        rows[name] = {"ms": round(milliseconds, 4), "gbytes": round(rate, 1), "of_copy": share}
        print(name, rows[name], flush=True)
        figures.note(kernels=rows)

    divisor = SMALL if options.small else 1
    problems = []
    for index, case in enumerate(cases()):
        try:
            for row in measure(case, divisor, conversion=index == 0):
                note(*row)
        except RuntimeError as error:  # the others have kernels of their own
            problems.append(f"{case.name}: {error}")
            figures.note(problems=problems)
    note("SGD update", *measure_update(PARAMS // divisor))
    return 1 if problems else 0


def measure(case: Case, divisor: int, *, conversion: bool) -> list[tuple[str, int, float]]:
    """Name, least bytes and milliseconds of a case's passes, and of the conversion before it if wanted."""
    timed = case.timed
    bottoms = [(max(1, shape[0] // divisor), *shape[1:]) for shape in timed.bottoms]
    node = make_layer(f'type: "{case.type}" {timed.fields}', bottoms)
    if node.device != "cuda":
        return []
    alone = Alone(node, bottoms, timed.layout)
    below, above = (2 * sum(map(math.prod, shapes)) for shapes in (bottoms, alone.top_shapes))
    forward, backward = alone.run(REPEATS if divisor == 1 else 2)
    rows = [
        (f"{case.name}, forward", _traffic(timed.forward, below, above), forward["layer"]),
        (f"{case.name}, backward", _traffic(timed.backward, below, above), backward["layer"]),
    ]
    if conversion:
        rows.append(("Reorder, float32 to bfloat16", 3 * below, forward["enter"]))
    return rows


def _traffic(times: tuple[float, float], below: int, above: int) -> int:
    return round(times[0] * below + times[1] * above)


def make_layer(layer: str, bottoms: Sequence[Shape]) -> Node:
    """Build a layer on the GPU, its params filled."""
    lines = ["force_backward: true"]
    for index, shape in enumerate(bottoms):
        dims = " ".join(f"dim: {dim}" for dim in shape)
        lines.append(
            f'layer {{ name: "b{index}" type: "Input" top: "b{index}" input_param {{ shape {{ {dims} }} }} }}'
        )
    names = " ".join(f'bottom: "b{index}"' for index in range(len(bottoms)))
    lines.append(f'layer {{ name: "layer" {names} top: "top" {layer} }}')
    document = parse_net("\n".join(lines))
    state = schema.NetState(phase=schema.TRAIN)
    return build_graph(document, state, seed=1, device="cuda").nodes[-1]


class Alone:
    """A layer between conversions: float32 arrays below, bfloat16 at the layer, float32 above."""

    def __init__(self, node: Node, bottoms: Sequence[Shape], layout: str) -> None:
        self._layout = layout
        self._steps: list[core.Step] = []
        self._names: list[str] = []
        random = np.random.default_rng(1).standard_normal(RANDOM_VALUES, dtype=np.float32)
        sources = [core.Blob(list(shape), "float32", layout, "cuda") for shape in bottoms]
        for source in sources:
            _fill(source.data, random)
        inside = [self._convert("enter", source, "bfloat16") for source in sources]
        layer = core.create_layer(node.kind.type, node.device, node.arguments)
        layer.params = [param.blob for param in node.params]
        layer.param_propagate_down = node.param_propagate_down
        self.top_shapes = layer.top_shapes([list(shape) for shape in bottoms])
        tops = [core.Blob(shape, "bfloat16", layout, "cuda") for shape in self.top_shapes]
        self._add("layer", layer, inside, tops)
        for top in tops:
            end = self._convert("leave", top, "float32")
            _fill(end.diff, random)
        self.executor = core.Executor(self._steps, 1)

    def _convert(self, name: str, blob: core.Blob, dtype: str) -> core.Blob:
        converted = core.Blob(blob.shape, dtype, self._layout, "cuda")
        self._add(name, core.create_layer("Reorder", "cuda", {}), [blob], [converted])
        return converted

    def _add(self, name: str, layer: core.Layer, bottoms: list[core.Blob], tops: list[core.Blob]) -> None:
        self._names.append(name)
        self._steps.append(
            core.Step(
                name=name, layer=layer, bottoms=bottoms, tops=tops, loss_weights=[0.0] * len(tops),
                propagate_down=[True] * len(bottoms), need_backward=True,
            )
        )  # fmt: skip

    def run(self, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
        """Milliseconds of each step forward and backward, medians; of steps of one name the last."""
        executor = self.executor
        executor.timing = True
        forward, backward = [], []
        for iteration in range(WARM_UP + repeats):
            executor.iteration = iteration
            executor.forward(0, len(executor))
            executor.backward(0, len(executor))
            forward.append(list(executor.forward_ms))
            backward.append(list(executor.backward_ms))
        return self._medians(forward[WARM_UP:]), self._medians(backward[WARM_UP:])

    def _medians(self, times: list[list[float]]) -> dict[str, float]:
        return {name: statistics.median(column) for name, column in zip(self._names, zip(*times))}


def _fill(view: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> None:
    """Repeat values through an array, in the order of its memory."""
    order = np.argsort(view.strides)[::-1]
    memory = view.transpose(order)
    memory[...] = np.resize(values, memory.shape)


def measure_update(count: int) -> tuple[int, float]:
    """Least bytes and milliseconds of SGD on so many weights: three arrays read, two written."""
    blob = core.Blob([count], "float32", "plain", "cuda")
    blob.data[...] = np.resize(np.random.default_rng(2).standard_normal(RANDOM_VALUES), count)
    blob.diff[...] = blob.data
    updater = core.Updater("SGD", [blob], [1.0], [1.0])
    for _ in range(3):
        updater.update(sgd_settings(1e-3, 0))
    core.synchronize()
    start = time.perf_counter()
    for _ in range(REPEATS):
        updater.update(sgd_settings(1e-3, 0))
    core.synchronize()
    return 5 * 4 * count, 1e3 * (time.perf_counter() - start) / REPEATS


if __name__ == "__main__":
    sys.exit(main())
