"""From a task to one row of a table: check agreement, fight, put numbers beside the machine's peak."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from .duel import LEAST_PAIRS, ContenderError, Duel, Side, fight
from .peak import measure_peak
from .task import Task

HEADER = (
    "| net | mode | batch | precision | threads | ours, img/s | torch, img/s | speed ratio (25-75 %) "
    "| ours, ms a step | torch, ms a step | ours, % of peak | torch, % of peak | ours, MiB | torch, MiB "
    "| pairs kept/discarded |\n" + "|---|---|---|---|---|" + "---:|" * 10
)


def check_agreement(task: Task, threads: int) -> str:
    """Compare the results of both engines in a process of its own; returns what is wrong, or nothing."""
    command = [sys.executable, "-m", "benchmarks.agreement", task.to_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    print(result.stdout, end="", file=sys.stderr)
    return "" if result.returncode == 0 else "results differ"


def compare(task: Task, options: argparse.Namespace, peak: dict[str, float]) -> str:
    """Time a task whose results agree; returns its row."""
    try:
        duel = fight(task, options.peer, options.threads, options.pairs, gate=options.gate)
    except ContenderError as error:
        return failed_row(task, options.threads, str(error))
    reason = _why_no_result(duel, options)
    if reason:
        return failed_row(task, options.threads, reason)
    return _row(task, options.threads, duel, peak.get(task.precision))


def _why_no_result(duel: Duel, options: argparse.Namespace) -> str:
    if duel.kept < (LEAST_PAIRS if options.gate else 1):
        return f"machine too busy, {duel.kept} pairs kept and {duel.discarded} discarded"
    if options.gate and options.threads == 1 and not duel.clocks_agree():
        return "wall time and processor time disagree"
    return ""


def _start(task: Task, threads: int) -> str:
    return f"| {task.name} | {task.mode} | {task.batch} | {task.precision} | {threads} |"


def failed_row(task: Task, threads: int, reason: str) -> str:
    """Make the row of a task without a result."""
    return f"{_start(task, threads)} no result: {reason} |" + " |" * 9


def _row(task: Task, threads: int, duel: Duel, peak_gflops: float | None) -> str:
    low, median, high = duel.quartiles()
    sides = (duel.ours, duel.theirs)
    cells = [
        *(f"{task.batch / side.step_seconds:,.1f}" for side in sides),
        f"**{median:.2f}** ({low:.2f}-{high:.2f})",
        *(f"{side.step_seconds * 1e3:.3f}" for side in sides),
        *(_share_of_peak(side, duel.flops, peak_gflops) for side in sides),
        *(f"{side.peak_bytes / 2**20:,.0f}" for side in sides),
        f"{duel.kept}/{duel.discarded}",
    ]
    return f"{_start(task, threads)} {' | '.join(cells)} |"


def _share_of_peak(side: Side, flops: int, peak_gflops: float | None) -> str:
    return f"{flops / side.step_seconds / peak_gflops / 1e9:.0%}" if peak_gflops else "-"


def run(task: Task, options: argparse.Namespace) -> int:
    """Check, time and print one task; returns the exit status."""
    problem = check_agreement(task, options.threads)
    if problem:
        print(f"not timed: {problem}")
        return 1
    peak = measure_peak(options.threads)
    print(
        f"peak: {', '.join(f'{rate:,.0f} GFLOP/s in {name}' for name, rate in peak.items())}", file=sys.stderr
    )
    row = compare(task, options, peak)
    print(f"{HEADER}\n{row}")
    return 1 if "no result" in row else 0
