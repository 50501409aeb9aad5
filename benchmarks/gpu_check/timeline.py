"""Step: what the GPU does during training steps, and how much of the time nothing.

``python -m benchmarks.gpu_check.timeline TASK`` (JSON; the engine is "ours" or a peer)

PyTorch's profiler sees the kernels of the whole process, whoever started them. It costs some time itself, so
the time of a step without it stands beside; and with it how much is won if the host may run further ahead.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import find_peer
from benchmarks.task import Task

from .figures import Figures

WARM_UP, STEPS, PROFILED = 20, 100, 10
_BUSY = ("kernel", "gpu_memcpy", "gpu_memset")
_SHOWN = 15

Event = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Busy and idle time of some steps, in microseconds, and the time of each kernel by name."""

    busy: float
    span: float
    kernels: dict[str, float]
    count: int

    @classmethod
    def of(cls, events: list[Event]) -> Timeline:
        """Sum up a trace; kernels may overlap."""
        spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in _BUSY)
        if not spans:
            return cls(0, 0, {}, 0)
        busy, end = 0.0, spans[0][0]
        for start, stop in spans:
            busy += max(0.0, stop - max(start, end))
            end = max(end, stop)
        kernels: dict[str, float] = defaultdict(float)
        for event in events:
            if event.get("cat") in _BUSY:
                kernels[event["name"]] += event["dur"]
        return cls(busy, end - spans[0][0], dict(kernels), len(spans))


def main() -> None:
    """Time steps, then profile some."""
    task = Task.from_json(sys.argv[1])
    figures = Figures()
    figures.note(net=task.name, batch=task.batch, engine=task.engine)
    if task.device == "cuda":
        _start_profiler()
    engine = make_engine(task)
    steps = STEPS if task.device == "cuda" else 2
    _run(engine, WARM_UP if task.device == "cuda" else 2)
    figures.note(step_ms=_run(engine, steps))
    if hasattr(engine, "ahead"):
        figures.note(repeats_recording=engine.repeated)
        engine.ahead = 3
        figures.note(step_ms_three_ahead=_run(engine, steps))
        engine.ahead = 1
    if task.device == "cuda":
        timeline = profile(engine)
        figures.note(**summary(timeline))


def make_engine(task: Task) -> Any:
    """Build what a contender would."""
    name = "engine_ours" if task.engine == "ours" else find_peer(task.engine).module
    return importlib.import_module(f"benchmarks.{name}").make_engine(task)


def _run(engine: Any, steps: int) -> float:
    """Run steps to their end; returns milliseconds of one."""
    start = time.perf_counter()
    for _ in range(steps):
        engine.step()
    engine.finish()
    return round(1e3 * (time.perf_counter() - start) / steps, 4)


def _start_profiler() -> None:
    """Before anything is recorded: kernels of older graphs could not be told apart."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]):
        torch.zeros(1, device="cuda")
        torch.cuda.synchronize()


def profile(engine: Any) -> Timeline:
    """Trace some steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED):
            engine.step()
        engine.finish()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return Timeline.of(read_trace(path))


def read_trace(path: Path) -> list[Event]:
    """Events of a trace, compressed or not."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    return list(json.loads(content)["traceEvents"])


def summary(timeline: Timeline) -> dict[str, Any]:
    """Figures of one step."""
    longest = sorted(timeline.kernels.items(), key=lambda item: -item[1])[:_SHOWN]
    return {
        "busy_ms": round(timeline.busy / PROFILED / 1e3, 4),
        "idle_share": round(1 - timeline.busy / timeline.span, 4) if timeline.span else None,
        "kernels_a_step": round(timeline.count / PROFILED, 1),
        "longest_kernels_ms": {name[:100]: round(us / PROFILED / 1e3, 4) for name, us in longest},
    }


if __name__ == "__main__":
    main()
