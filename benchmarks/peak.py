"""The ceiling: multiply-add rate and copy bandwidth of this machine, measured now."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

from pycaffe_like.roofline import Machine

_WORKING_SET = 1 << 28  # far beyond any cache


def measure_peak(threads: int) -> Machine:
    """Measure in a process with this many OpenMP threads."""
    command = [sys.executable, "-m", "benchmarks.peak"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return Machine(**json.loads(result.stdout))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(Machine.measure(_WORKING_SET))))
