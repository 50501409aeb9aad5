"""From a task to a result: check agreement, fight, put numbers beside the machine's peak."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pycaffe_like.roofline import Machine

from .duel import ContenderError, Duel, fight, least_pairs
from .result import Pair, Result
from .task import Task

DIFFERENT = "results differ"
_DISAGREE = 2  # exit status of `agreement`, which is not imported because it imports PyTorch
_MEASURED = ("layers_cpp", "pycaffe_like", "models")  # what makes a result another one


def describe(task: Task, peer: str, threads: int) -> Result:
    """Make the row of a task, still empty."""
    date = datetime.date.today().isoformat()
    return Result(task.name, task.mode, task.batch, task.precision, threads, peer, code=_commit(), date=date)


def _commit() -> str:
    """Last commit of what is measured, with a + if files have changed since; empty outside a repository."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments, "--", *_MEASURED]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("log", "-1", "--format=%h") + ("+" if git("diff", "HEAD", "--name-only") else "")


def check_agreement(task: Task, threads: int) -> dict[str, str]:
    """Compare the results of ours and of `task.engine`, in a process of its own.

    Returns
    -------
    dict
        The fields `agreement` and `problem` of the task's result; no problem, no text.
    """
    command = [sys.executable, "-m", "benchmarks.agreement", task.to_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    print(result.stdout, end="", file=sys.stderr)
    problems = {0: "", _DISAGREE: DIFFERENT}
    problem = problems.get(result.returncode, f"{task.engine} does not run this net")
    return {"agreement": result.stdout.strip(), "problem": problem}


def measure(task: Task, result: Result, options: argparse.Namespace, machine: Machine) -> Result:
    """Fill the result of a task: time it unless there is a problem already."""
    if result.problem:
        return result
    try:
        duel = fight(task, options.threads, options.pairs, options.seconds, gate=options.gate)
    except ContenderError as error:
        return dataclasses.replace(result, problem=str(error))
    problem = _why_no_result(duel, options)
    if problem:
        return dataclasses.replace(result, problem=problem)
    sides = (duel.ours, duel.theirs)
    peak = machine.gflops.get(task.precision, machine.gflops["float32"])
    return dataclasses.replace(
        result,
        ratio=tuple(round(point, 4) for point in duel.quartiles()),
        ms=_pair(side.step_seconds * 1e3 for side in sides),
        share=_pair(duel.flops / side.step_seconds / peak / 1e9 for side in sides),
        mib=_pair(side.peak_bytes / 2**20 for side in sides),
        kept=duel.kept,
        discarded=duel.discarded,
    )


def _pair(values: Iterable[float]) -> Pair:
    ours, theirs = (round(value, 4) for value in values)
    return ours, theirs


def _why_no_result(duel: Duel, options: argparse.Namespace) -> str:
    if duel.kept < (least_pairs(options.pairs) if options.gate else 1):
        return f"machine too busy, {duel.kept} pairs kept and {duel.discarded} discarded"
    if options.gate and options.threads == 1 and not duel.clocks_agree():
        return "wall time and processor time disagree"
    return ""
