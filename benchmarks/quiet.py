"""Was anybody else computing? Linux tells in /proc."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

MOST_FOREIGN = 0.05  # of the machine
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """Seconds so far: wall, busy (all processors, stolen time included), and busy for `pids`."""

    wall: float
    busy: float
    own: float

    @classmethod
    def read(cls, pids: list[int]) -> Load:
        """Read the counters now."""
        return cls(time.perf_counter(), _busy_seconds(), sum(map(_process_seconds, pids)))


def foreign_share(before: Load, after: Load) -> float:
    """Share of the machine that others used between two readings."""
    foreign = (after.busy - before.busy) - (after.own - before.own)
    return foreign / ((after.wall - before.wall) * (os.cpu_count() or 1))


def _busy_seconds() -> float:
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _process_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
