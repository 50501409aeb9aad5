"""Steps of the check: processes of their own, side by side or one after the other, each with a time limit.

Whatever a step does, it crashes, hangs or floods its output, the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, TIMED_OUT, SKIPPED = "passed", "failed", "timed out", "skipped"

CANNOT_RUN = 77
"""Exit status of a step that has nothing to run on; the last line of its output says why."""

FIGURES = "CAFFE_CHECK_FIGURES"
"""Environment variable: the file a step writes its figures to."""

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 3.0
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Step:
    """One thing to find out.

    Attributes
    ----------
    name : str
    arguments : tuple of str
        What Python is called with.
    seconds : float
        When it is stopped.
    least : float
        Seconds that have to be left, or it is not begun.
    needs : tuple of str
        Steps that must have passed before.
    environment : mapping
        Variables to add.
    """

    name: str
    arguments: tuple[str, ...]
    seconds: float
    least: float = 5
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of a step; `tail` is the end of its output."""

    status: str
    seconds: float = 0
    figures: dict[str, Any] = field(default_factory=dict)
    tail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 1)}


class Runner:
    """Runs stages of steps until a deadline.

    Parameters
    ----------
    folder : Path
        For outputs and figures; steps run in it.
    environment : mapping
        What all steps get, besides this process's own.
    seconds : float
        For all of them together.
    report : callable
        Called with name and outcome whenever a step has ended.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        seconds: float,
        report: Callable[[str, Outcome], None],
    ) -> None:
        self.folder = folder.resolve()
        self.environment = {**os.environ, **environment}
        self.deadline = time.monotonic() + seconds
        self.report = report
        self.outcomes: dict[str, Outcome] = {}

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def run(self, stages: Sequence[Sequence[Step]]) -> None:
        """Run the stages one after the other, the steps of each side by side."""
        for stage in stages:
            self._run_stage(stage)

    def _run_stage(self, steps: Sequence[Step]) -> None:
        running: list[_Process] = []
        try:
            for step in steps:
                reason = self._why_not(step)
                if reason:
                    self._end(step, Outcome(SKIPPED, tail=reason))
                else:
                    running.append(_Process(step, self.folder, self.environment, self.left))
            while running:
                for process in list(running):
                    outcome = process.outcome()
                    if outcome:
                        running.remove(process)
                        self._end(process.step, outcome)
                time.sleep(_POLL_SECONDS)
        finally:
            for process in running:
                self._end(process.step, process.give_up())

    def _why_not(self, step: Step) -> str:
        for name in step.needs:
            if name in self.outcomes and self.outcomes[name].status != PASSED:
                return f"step {name} has not passed"
        if self.left < step.least:
            return f"{max(self.left, 0):.0f} seconds are left, it takes {step.least:.0f} at least"
        return ""

    def _end(self, step: Step, outcome: Outcome) -> None:
        self.outcomes[step.name] = outcome
        self.report(step.name, outcome)


class _Process:
    """A step that runs, in a session of its own so that all its children can be stopped."""

    def __init__(self, step: Step, folder: Path, environment: Mapping[str, str], left: float) -> None:
        self.step = step
        self.log = folder / f"{step.name}.log"
        self.figures = folder / f"{step.name}.json"
        self.figures.unlink(missing_ok=True)
        self.start = time.monotonic()
        self.limit = min(step.seconds, left)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *step.arguments],
                cwd=folder,
                env={**environment, **step.environment, FIGURES: str(self.figures)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def outcome(self) -> Outcome | None:
        """What became of it; None while it runs."""
        status = self.process.poll()
        if status is None and self.seconds < self.limit:
            return None
        return self._end(status)

    def give_up(self) -> Outcome:
        """End it now; what it has found so far counts."""
        return self._end(None)

    def _end(self, status: int | None) -> Outcome:
        seconds = self.seconds
        self._stop()
        words = {0: PASSED, CANNOT_RUN: SKIPPED, None: TIMED_OUT}
        return Outcome(words.get(status, FAILED), seconds, _read_json(self.figures), self._tail(status))

    def _stop(self) -> None:
        """End it and whatever it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_SECONDS)

    def _tail(self, status: int | None) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace").rstrip()
        if status is not None and status < 0:
            text += f"\nended by signal {-status}"
        return text


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
