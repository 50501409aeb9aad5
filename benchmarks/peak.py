"""The ceiling: multiply-add rate of this machine, measured now."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

_FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fopenmp"]


def measure_peak(threads: int) -> dict[str, float]:
    """Compile and run `fma_peak.c`; returns GFLOP/s by precision, of those the processor has."""
    source = Path(__file__).with_name("fma_peak.c")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "fma_peak")
        subprocess.run([os.environ.get("CC", "cc"), *_FLAGS, str(source), "-o", program], check=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        result = subprocess.run([program], env=environment, check=True, capture_output=True, text=True)
    rates = dict(zip(("float32", "bfloat16"), map(float, result.stdout.split())))
    return {precision: rate for precision, rate in rates.items() if rate}
