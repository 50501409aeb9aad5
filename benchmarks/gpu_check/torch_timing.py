"""Times work of PyTorch: with events on a GPU, by the clock on a CPU."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import torch


def median_ms(work: Callable[[], object], device: str, repeats: int, warm_up: int = 3) -> float:
    """Milliseconds of one call, the median of some."""
    for _ in range(warm_up):
        work()
    return statistics.median(_events(work, repeats) if device == "cuda" else _clock(work, repeats))


def _events(work: Callable[[], object], repeats: int) -> list[float]:
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in itertools.pairwise(marks)]


def _clock(work: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times
