"""Times two contenders: blocks of steps in turn, ratios of neighbouring blocks, on a quiet machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from .quiet import MOST_FOREIGN, Load, foreign_share
from .task import Task

BLOCK_SECONDS = 0.5
WARM_UP_BLOCKS = 3
WARM_UP_SECONDS = 3.0  # enough for steps that last longer than a block
CLOCKS_AGREE = 0.05  # by how much the ratios of wall and processor time may differ on one thread


class ContenderError(RuntimeError):
    """A contender ended early; its own message is on standard error."""


class Contender:
    """A process that runs a task, and the length of its blocks."""

    def __init__(self, task: Task, threads: int) -> None:
        self.task = task
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "benchmarks.contender", task.to_json()]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.facts: dict[str, Any] = {}
        self.steps = 1

    def prepare(self) -> None:
        """Wait until the engine is built, warm it up and find the length of its blocks."""
        self.facts = self._read()
        self.steps = self._calibrate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def run_block(self) -> dict[str, float]:
        """Run one block and wait for its end."""
        assert self._process.stdin
        self._process.stdin.write(f"{self.steps}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"{self.task.engine} stopped with status {self._process.wait()}")
        return json.loads(line)

    def _calibrate(self) -> int:
        """Warm up; returns how many steps make a block."""
        self.run_block()
        while (seconds := self.run_block()["seconds"]) < BLOCK_SECONDS / 4:
            self.steps *= 4
        steps = max(1, round(self.steps * BLOCK_SECONDS / seconds))
        self.steps = steps
        for _ in range(WARM_UP_BLOCKS - 1):
            if seconds < WARM_UP_SECONDS:
                seconds += self.run_block()["seconds"]
        return steps


@dataclass
class Side:
    """What one contender did in the pairs that were kept."""

    steps: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: float = 0

    def add(self, block: dict[str, float]) -> None:
        self.seconds.append(block["seconds"] / self.steps)
        self.cpu_seconds.append(block["cpu_seconds"] / self.steps)
        self.peak_bytes = block["peak_bytes"]

    @property
    def step_seconds(self) -> float:
        """Median of a step."""
        return statistics.median(self.seconds)


@dataclass
class Duel:
    """Result: seconds a step of both sides, pair by pair."""

    ours: Side
    theirs: Side
    flops: int
    discarded: int = 0

    @property
    def kept(self) -> int:
        return len(self.ours.seconds)

    @property
    def ratios(self) -> list[float]:
        """Speed relative to the peer's, of each pair."""
        return [theirs / ours for ours, theirs in zip(self.ours.seconds, self.theirs.seconds)]

    def quartiles(self) -> tuple[float, float, float]:
        """25 %, 50 % and 75 % point of the ratios."""
        ratios = self.ratios
        if len(ratios) == 1:
            return (ratios[0],) * 3
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, median, high

    def clocks_agree(self) -> bool:
        """Whether wall time and processor time tell the same; meaningful on one thread."""
        ratios = [theirs / ours for ours, theirs in zip(self.ours.cpu_seconds, self.theirs.cpu_seconds)]
        return abs(statistics.median(ratios) / self.quartiles()[1] - 1) <= CLOCKS_AGREE


def least_pairs(pairs: int) -> int:
    """How many pairs have to be kept of those that were asked for."""
    return -(-2 * pairs // 3)


def fight(task: Task, threads: int, pairs: int, seconds: float, *, gate: bool) -> Duel:
    """Time ours against the engine of the task, block by block in turn.

    After `seconds`, as few pairs as `least_pairs` are enough.
    """
    contenders: list[Contender] = []
    try:
        for engine in ("ours", task.engine):
            contenders.append(Contender(task.run_by(engine), threads))
            contenders[-1].prepare()
        return run_pairs(contenders, pairs, seconds, gate=gate)
    finally:
        for contender in contenders:
            contender.close()


def run_pairs(contenders: list[Contender], pairs: int, seconds: float, *, gate: bool) -> Duel:
    """Time ours and its peer, which are prepared."""
    ours, theirs = contenders
    duel = Duel(Side(ours.steps), Side(theirs.steps), ours.facts["flops"])
    pids = [os.getpid(), ours.pid, theirs.pid]
    end = time.perf_counter() + seconds
    for _ in range(pairs):
        if time.perf_counter() > end and duel.kept >= least_pairs(pairs):
            break
        before = Load.read(pids) if gate else None
        blocks = ours.run_block(), theirs.run_block()
        if before and foreign_share(before, Load.read(pids)) > MOST_FOREIGN:
            duel.discarded += 1
            continue
        duel.ours.add(blocks[0])
        duel.theirs.add(blocks[1])
    return duel
