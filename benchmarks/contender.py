"""One side of a duel: a process that builds a task's engine once and then runs blocks of steps on demand.

Protocol, one JSON value a line: when ready it writes {"flops": of a step}; to each number of steps it
reads, it answers {"seconds", "cpu_seconds", "peak_bytes"}; it ends with its input. On a GPU the first line
also has "loss", that of the first step, and "device_bytes".
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, Any

from .flops import count_flops
from .peers import find_peer
from .task import Task

PROCESS = Path("/proc/self")


def main() -> None:
    """Serve until the input ends."""
    replies = _take_stdout()
    task = Task.from_json(sys.argv[1])
    # No other engine is imported: each carries the memory of its own libraries only.
    name = "engine_ours" if task.engine == "ours" else find_peer(task.engine).module
    engine = importlib.import_module(f".{name}", __package__).make_engine(task)
    engine.step()  # what is made at the first step, compiled code for one, belongs to building
    gc.collect()
    _reset_peak_memory()
    facts = {"flops": count_flops(engine.graph)} if task.engine == "ours" else {}
    if task.device == "cpu":
        finish = _nothing
    else:
        finish = engine.finish
        facts |= _device_facts(engine)
    _reply(replies, facts)
    for line in sys.stdin:
        _reply(replies, run_block(engine.step, int(line), finish))


def _nothing() -> None:
    """What there is to wait for on a CPU, where a step returns when it is done."""


def _device_facts(engine: Any) -> dict[str, Any]:
    """The loss of the first step, and what the second one takes of the device's memory."""
    loss = engine.finish()
    engine.reset_peak()
    engine.step()
    engine.finish()
    return {"loss": loss, "device_bytes": engine.device_bytes()}


def run_block(step: Any, steps: int, finish: Any = _nothing) -> dict[str, float]:
    """Run some steps to their end; returns what they took."""
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    finish()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": _peak_memory()}


def _take_stdout() -> IO[str]:
    """Keep standard output for replies; whatever libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def _reply(stream: IO[str], value: dict[str, Any]) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()


def _reset_peak_memory() -> None:
    """Forget the peak of building, which is not what users wait for (weights are copied, for one)."""
    with contextlib.suppress(OSError):  # gVisor cannot forget it
        (PROCESS / "clear_refs").write_text("5")


def _peak_memory() -> int:
    """Largest resident size, in bytes. `ru_maxrss` may include the parent's size at the fork."""
    lines = (PROCESS / "status").read_text().splitlines()
    peak = next((line for line in lines if line.startswith("VmHWM")), None)  # gVisor does not tell it
    kilobytes = int(peak.split()[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * 1024


if __name__ == "__main__":
    main()
