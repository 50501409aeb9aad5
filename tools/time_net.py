"""`caffe time`: measures how long a net's layers take forward and backward."""

from __future__ import annotations

import logging
import time

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..net import TRAIN
from ..pycaffe.net import Net
from ..roofline import Machine, roofline, table
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
    positive_iterations,
    required,
    stages,
    use_device,
)
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Measure how long a net takes, layer by layer."
ARGUMENTS = "time -model FILE [flags]"
FLAGS = {
    "model": Flag("", "net prototxt"),
    "weights": Flag("", "trained weights; not needed for timing"),
    "iterations": Flag(50, "forward and backward passes to measure"),
    "phase": Flag("", "phase to build for: TRAIN (default) or TEST"),
    "roofline": Flag(False, "show operations and bytes of each step beside what the machine can do at best"),
    **STATE,
    **PLAN,
    **CODE,
    **MEMORY,
    **GPU,
    "help": Flag(False, "show this text"),
}


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    required(flags, "model")
    iterations, phase = positive_iterations(flags), parse_phase(flags["phase"], TRAIN)
    use_device(flags["gpu"])
    allow_code(flags)
    net = Net(
        flags["model"], phase, flags["level"], stages(flags["stage"]), flags["weights"] or None,
        **plan_options(flags), keep_data=False, keep_diffs=False, max_memory=max_memory(flags),
    )  # fmt: skip
    if not net.plan.graph.nodes:
        raise ConfigError(f"{flags['model']}: no layer runs in this phase", hint="give the other -phase")
    try:
        times = measure(net, iterations)
        if flags["roofline"]:
            machine = Machine.measure(net.memory().total)
            print(*table(roofline(net, times, machine), machine), sep="\n")
    finally:
        net.close()
    return 0


def measure(net: Net, iterations: int, *, backward: bool = True) -> list[tuple[float, float]]:
    """Run the passes and print their times; returns the medians of each step, forward and backward, in ms."""
    log.info("Performing Forward")
    log.info("Initial loss: %g", net.forward_loss())
    if backward:
        log.info("Performing Backward")
        _backward(net)
    log.info("*** Benchmark begins ***")
    log.info("Testing for %d iterations.", iterations)
    net.timing = True
    times = np.zeros((iterations, len(net.layer_times()), 2))
    start = time.perf_counter()
    for iteration in range(iterations):
        begin = time.perf_counter()
        net.clear_param_diffs()  # as training does: the first gradient overwrites
        net.forward_loss()
        if backward:
            _backward(net)
        log.info("Iteration: %d forward-backward time: %g ms.", iteration + 1, _since_ms(begin))
        times[iteration] = [pair for _, *pair in net.layer_times()]
    total = _since_ms(start)
    _show(net, times.mean(axis=0))
    log.info("Average Forward-Backward: %g ms.", total / iterations)
    log.info("Total Time: %g ms.", total)
    log.info("*** Benchmark ends ***")
    return [(forward, backward) for forward, backward in np.median(times, axis=0).tolist()]


def _backward(net: Net) -> None:
    """Run every layer backward, also those that training would pass over, as Caffe's command does."""
    executor = net.plan.executor
    executor.backward(0, len(executor), all=True)


def _show(net: Net, means: npt.NDArray[np.float64]) -> None:
    log.info("Average time per layer: ")
    for (name, *_), (forward, backward) in zip(net.layer_times(), means):
        log.info("%10s\tforward: %g ms.", name, forward)
        log.info("%10s\tbackward: %g ms.", name, backward)
    forward, backward = means.sum(axis=0)
    log.info("Average Forward pass: %g ms.", forward)
    log.info("Average Backward pass: %g ms.", backward)


def _since_ms(start: float) -> float:
    return (time.perf_counter() - start) * 1000
