"""All nets in one table: ``python -m benchmarks.report > RESULTS.md``.

Takes about a minute a row on two cores. Rows that cannot be measured say why.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .compare import HEADER, check_agreement, compare, failed_row
from .peak import measure_peak
from .task import Task, add_run_options

TRAIN_BATCHES = {
    "lenet": 64,
    "cifar10_quick": 100,
    "cifar10_full": 100,
    "caffenet": 32,
    "googlenet": 16,
    "resnet50": 16,
    "mobilenet_v1": 16,
    "vgg16": 8,
}
INFER_BATCHES = (1, 8)
PRECISIONS = ("float32", "bfloat16")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the nets")
    parser.add_argument("--nets", nargs="+", choices=TRAIN_BATCHES, default=list(TRAIN_BATCHES))
    parser.add_argument("--modes", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add_run_options(parser)
    return parser.parse_args()


def list_tasks(options: argparse.Namespace) -> Iterator[list[Task]]:
    """Yield the tasks of each net, mode and batch: one for each precision."""
    for mode in options.modes:
        for net in options.nets:
            file = options.models / net / ("train_val.prototxt" if mode == "train" else "deploy.prototxt")
            for batch in [TRAIN_BATCHES[net]] if mode == "train" else INFER_BATCHES:
                yield [Task(str(file), mode, batch, precision) for precision in options.precisions]


def describe_machine(peak: dict[str, float]) -> str:
    """Name machine, day and versions."""
    with open("/proc/cpuinfo") as file:
        model = next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown"
        )
    rates = ", ".join(f"{rate:,.0f} GFLOP/s {precision}" for precision, rate in peak.items())
    return (
        f"- {datetime.date.today()}, {model}, {os.cpu_count()} processors, {platform.platform()}\n"
        f"- peak of multiply-adds: {rates}\n"
        f"- pycaffe-like {_version('pycaffe-like')}, oneDNN wheel {_version('onednn-cpu-gomp')}, "
        f"torch {_version('torch')}, Python {platform.python_version()}"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def main() -> None:
    """Measure and print row by row."""
    options = parse_options()
    peak = measure_peak(options.threads)
    print(f"# Against PyTorch ({options.peer})\n\n{describe_machine(peak)}\n\n{HEADER}", flush=True)
    for tasks in list_tasks(options):
        problem = check_agreement(tasks[0], options.threads)
        for task in tasks:
            row = failed_row(task, options.threads, problem) if problem else compare(task, options, peak)
            print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
