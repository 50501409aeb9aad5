"""Step: training steps of one net beside PyTorch's, in blocks that alternate between two processes.

``python -m benchmarks.gpu_check.speed TASK [--pairs 9] [--seconds 12]`` (TASK as JSON, its engine the peer)
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from benchmarks.duel import Contender, ContenderError, Duel, run_pairs
from benchmarks.task import Task

from .clocks import read_clocks
from .figures import Figures, figures_of

RECORDING = "CAFFE_RECORDING"
"""Environment variable: 0 lets no work on the GPU be recorded."""

LOSSES_AGREE = 0.05
"""By how much first losses may differ: the weights are the same, masks of Dropout and roundings are not."""


def main() -> int:
    """Time; returns the exit status, 1 if the two do not compute the same."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", type=Task.from_json)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=12)
    options = parser.parse_args()
    task: Task = options.task
    figures = Figures()
    figures.note(net=task.name, batch=task.batch, precision=task.precision, peer=task.engine)
    contenders: list[Contender] = []
    try:
        for engine in ("ours", task.engine):  # one after the other: both look for their fastest kernels
            start = time.perf_counter()
            contenders.append(prepared(task.run_by(engine), figures))
            figures.note(**{f"{engine}_ready_seconds": round(time.perf_counter() - start, 1)})
        figures.note(**facts(contenders), clocks_before=read_clocks())
        duel = run_pairs(contenders, options.pairs, options.seconds, gate=False)
    finally:
        for contender in contenders:
            contender.close()
    figures.note(**timing(task, duel), clocks_after=read_clocks())
    ours, theirs = figures.values["first_losses"]
    agree = abs(ours - theirs) <= LOSSES_AGREE * abs(theirs)
    return 0 if agree and figures.values.get("recording", True) else 1


def prepared(task: Task, figures: Figures) -> Contender:
    """Start one side; ours without recorded iterations if it ends with them, which makes the step fail."""
    contender = Contender(task, threads())
    try:
        contender.prepare()
        return contender
    except ContenderError:
        contender.close()
        if task.engine != "ours" or os.environ.get(RECORDING) == "0":
            raise
    figures.note(recording=False)
    os.environ[RECORDING] = "0"
    return prepared(task, figures)


def threads() -> int:
    """Of each contender: half of the cores."""
    return max(1, (os.cpu_count() or 2) // 2)


def facts(contenders: list[Contender]) -> dict[str, Any]:
    """First losses and memory of both."""
    return {
        "first_losses": [contender.facts["loss"] for contender in contenders],
        "device_mib": [
            {name: size >> 20 for name, size in contender.facts["device_bytes"].items()}
            for contender in contenders
        ],
    }


def timing(task: Task, duel: Duel) -> dict[str, Any]:
    """Speeds, their ratio, and our share of the rate of matrix products."""
    sides = (duel.ours, duel.theirs)
    peak = figures_of("device").get("bfloat16_tflops")
    share = duel.flops / duel.ours.step_seconds / peak / 1e12 if peak else None
    return {
        "images_per_second": [round(task.batch / side.step_seconds, 1) for side in sides],
        "ms": [round(1e3 * side.step_seconds, 4) for side in sides],
        "ratio": [round(point, 3) for point in duel.quartiles()],
        "pairs": duel.kept,
        "of_peak": round(share, 4) if share else None,
    }


if __name__ == "__main__":
    raise SystemExit(main())
