"""`caffe test`: runs a net in phase TEST and prints its outputs, batch by batch and on average."""

from __future__ import annotations

import logging

import numpy as np

from ..net import TEST
from ..pycaffe.net import Net
from ..solver.display import output_lines, output_values
from ..solver.divergence import require_finite_outputs
from .common import (
    CODE,
    GPU,
    PLAN,
    STATE,
    allow_code,
    plan_options,
    positive_iterations,
    required,
    stages,
    use_device,
)
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Score a net: run it in phase TEST and average its outputs."
ARGUMENTS = "test -model FILE -weights FILE [flags]"
FLAGS = {
    "model": Flag("", "net prototxt"),
    "weights": Flag("", "trained weights"),
    "allow_unused_weights": Flag(False, "go on with weights of which no layer fits the net"),
    "iterations": Flag(50, "batches to run"),
    **STATE,
    **PLAN,
    **CODE,
    **GPU,
    "help": Flag(False, "show this text"),
}


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    required(flags, "model", "weights")
    iterations = positive_iterations(flags)
    use_device(flags["gpu"])
    allow_code(flags)
    net = Net(
        flags["model"], phase=TEST, level=flags["level"], stages=stages(flags["stage"]),
        **plan_options(flags), keep_data=False,
    )  # fmt: skip
    try:
        net.copy_from(flags["weights"], allow_unused=flags["allow_unused_weights"])
        score(net, iterations)
    finally:
        net.close()
    return 0


def score(net: Net, iterations: int) -> None:
    """Run so many batches and print what they give."""
    log.info("Running for %d iterations.", iterations)
    losses, sums = 0.0, np.zeros(1)
    for batch in range(iterations):
        loss = net.forward_loss()
        values = output_values(net)
        require_finite_outputs(net, loss, values, f"batch {batch}")
        losses += loss
        for _, line in output_lines(net, values, {}):
            log.info("Batch %d, %s", batch, line)
        sums = sums + values if batch else values
    log.info("Loss: %g", losses / iterations)
    for _, line in output_lines(net, sums / iterations, net.blob_loss_weights):
        log.info("%s", line)
