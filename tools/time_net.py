"""`caffe time`: measures how long a net's layers take forward and backward."""

from __future__ import annotations

import logging
import time

import numpy as np
import numpy.typing as npt

from ..net import TRAIN, Net
from .common import (
    GPU,
    PRECISION,
    STATE,
    check_precision,
    parse_phase,
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
    **STATE,
    **PRECISION,
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
    net = Net(
        flags["model"], phase, flags["level"], stages(flags["stage"]), flags["weights"] or None,
        precision=check_precision(flags["precision"]),
    )  # fmt: skip
    try:
        measure(net, iterations)
    finally:
        net.close()
    return 0


def measure(net: Net, iterations: int) -> None:
    """Run the passes and print their times; numbers are milliseconds."""
    log.info("Performing Forward")
    log.info("Initial loss: %g", net.forward_loss())
    log.info("Performing Backward")
    _backward(net)
    log.info("*** Benchmark begins ***")
    log.info("Testing for %d iterations.", iterations)
    net.timing = True
    sums = np.zeros((len(net.layer_times()), 2))
    start = time.perf_counter()
    for iteration in range(1, iterations + 1):
        begin = time.perf_counter()
        net.forward_loss()
        _backward(net)
        log.info("Iteration: %d forward-backward time: %g ms.", iteration, _since_ms(begin))
        sums += [times for _, *times in net.layer_times()]
    total = _since_ms(start)
    _show(net, sums / iterations)
    log.info("Average Forward-Backward: %g ms.", total / iterations)
    log.info("Total Time: %g ms.", total)
    log.info("*** Benchmark ends ***")


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
