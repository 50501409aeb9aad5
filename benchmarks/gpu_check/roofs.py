"""Step: every planned step of a training net beside its roof, timed with events, in bfloat16.

``python -m benchmarks.gpu_check.roofs TASK`` (JSON); the table goes to the log, the summary to the figures.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.engine_ours import OurNet
from benchmarks.task import Task
from pycaffe_like.roofline import Machine, Row, roofline, table
from pycaffe_like.tools.time_net import measure

from .figures import Figures, figures_of

ITERATIONS = 10
_SHOWN = 15


def main() -> None:
    """Time and sum up."""
    task = Task.from_json(sys.argv[1])
    figures = Figures()
    net = OurNet(task).net
    times = measure(net, ITERATIONS if task.device == "cuda" else 1)
    machine = ceilings(figures_of("device"))
    rows = roofline(net, times, machine)
    print(*table(rows, machine), sep="\n")
    figures.note(types=by_type(rows), most_lost=most_lost(rows))


def ceilings(device: dict[str, Any]) -> Machine:
    """Those that the step `device` found; of its own kind where it found none."""
    rates = {name: 1e3 * device.get(f"{name}_tflops", 1.0) for name in ("float32", "bfloat16")}
    return Machine(rates, device.get("copy_gbytes", 1.0))


def by_type(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Milliseconds, GB/s and share of the roof by type and pass, the longest first."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[f"{row.type}, {row.direction}"].append(row)
    summaries = {name: _sum_up(group) for name, group in groups.items()}
    return dict(sorted(summaries.items(), key=lambda item: -item[1]["ms"]))


def _sum_up(rows: Sequence[Row]) -> dict[str, float]:
    seconds = sum(row.seconds for row in rows)
    return {
        "steps": len(rows),
        "ms": round(1e3 * seconds, 3),
        "gbytes": round(sum(row.work.bytes for row in rows) / seconds / 1e9, 1),
        "of_roof": round(sum(row.least_seconds for row in rows) / seconds, 3),
    }


def most_lost(rows: Sequence[Row]) -> list[str]:
    """The steps that lose most milliseconds against their roofs."""
    worst = sorted(rows, key=lambda row: row.least_seconds - row.seconds)[:_SHOWN]
    return [
        f"{row.name}, {row.direction}: {1e3 * row.seconds:.3f} ms, roof {1e3 * row.least_seconds:.3f} ms"
        for row in worst
    ]


if __name__ == "__main__":
    main()
