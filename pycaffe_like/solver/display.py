"""What a solver prints while it runs, word for word as Caffe does: log scrapers depend on it."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..pycaffe.net import Net

log = logging.getLogger("caffe")

MOST_LINES = 10
"""Values of one output that are printed one by one; CAFFE_ALL_OUTPUTS=1 prints all of all, as Caffe does."""


class SmoothedLoss:
    """Mean of the last `size` losses.

    Losses are kept in single precision, in which a solver state saves them: a resumed run prints the same.
    """

    def __init__(self, size: int, losses: Iterable[float] = ()) -> None:
        self.losses = deque((float(loss) for loss in losses), maxlen=size)

    def add(self, loss: float) -> None:
        """Take in the loss of one iteration."""
        self.losses.append(float(np.float32(loss)))

    @property
    def value(self) -> float:
        """The mean; 0 before the first loss."""
        return sum(self.losses) / len(self.losses) if self.losses else 0.0


class DisplayClock:
    """Measures iterations a second between two displayed lines."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        self.start_s = time.perf_counter()

    def lap(self, iteration: int) -> tuple[float, float]:
        """Return iterations a second and seconds since the lap before."""
        now = time.perf_counter()
        seconds = now - self.start_s
        rate = (iteration - self.iteration) / (seconds or 1.0)
        self.iteration, self.start_s = iteration, now
        return rate, seconds


def show_training(net: Net, iteration: int, display: int, clock: DisplayClock, loss: float) -> None:
    """Print the loss and the outputs of the train net's last forward pass."""
    rate, seconds = clock.lap(iteration)
    log.info("Iteration %d (%g iter/s, %gs/%d iters), loss = %g", iteration, rate, seconds, display, loss)
    _show_outputs(net, "Train", output_values(net))


def show_test(net: Net, means: np.ndarray[Any, Any]) -> None:
    """Print the mean outputs of a test."""
    _show_outputs(net, "Test", means)


def output_values(net: Net) -> np.ndarray[Any, Any]:
    """All elements of all output blobs, one after the other."""
    values = [np.ravel(net.blobs[name].data) for name in net.outputs]
    return np.concatenate(values).astype(np.float64) if values else np.zeros(0)


def output_lines(
    net: Net, values: np.ndarray[Any, Any], weights: dict[str, float]
) -> Iterator[tuple[int, str]]:
    """Word the outputs of a net: one line a value, or one for all values of a blob that has many.

    Parameters
    ----------
    values
        Of all outputs, as `output_values` gives them.
    weights
        Loss weights of blobs; shares of the loss are shown for those.

    Yields
    ------
    (int, str)
        Number of the first value in a line, and the line.
    """
    most = np.inf if os.environ.get("CAFFE_ALL_OUTPUTS") == "1" else MOST_LINES
    start = 0
    for name in net.outputs:
        own = values[start : start + net.blobs[name].count]
        if len(own) > most:
            summary = f"min = {own.min():g}, mean = {own.mean():g}, max = {own.max():g}"
            yield start, f"{name}: {len(own)} values, {summary}"
        else:
            yield from enumerate((weighted(name, value, weights) for value in own), start)
        start += len(own)


def weighted(name: str, value: float, weights: dict[str, float]) -> str:
    """Word an output: `name = value`, and its share of the loss where it has a weight."""
    weight = weights.get(name, 0.0)
    share = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
    return f"{name} = {value:g}{share}"


def _show_outputs(net: Net, which: str, values: np.ndarray[Any, Any]) -> None:
    for number, line in output_lines(net, values, net.blob_loss_weights):
        log.info("    %s net output #%d: %s", which, number, line)
