"""Step: what the device is, and the two ceilings of all that runs on it, by PyTorch and on random data.

``python -m benchmarks.gpu_check.device [--device cuda|emulated] [--small]``
"""

from __future__ import annotations

import argparse
import os
import platform

import torch

from benchmarks.machine import machine_name

from .clocks import query, read_clocks
from .figures import Figures
from .torch_timing import median_ms

COPY_BYTES = 4 << 30  # far beyond the second-level cache
MATRIX = 8192


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    device = "cuda" if options.device == "cuda" else "cpu"
    figures = Figures()
    figures.note(machine=machine_name(), cores=os.cpu_count(), system=platform.platform())
    figures.note(device=describe(device), torch=torch.__version__, clocks_before=read_clocks())
    copy_bytes, size = (1 << 24, 256) if options.small else (COPY_BYTES, MATRIX)
    figures.note(copy_gbytes=copy_rate(device, copy_bytes))
    figures.note(bfloat16_tflops=product_rate(device, size, torch.bfloat16))
    torch.backends.cuda.matmul.allow_tf32 = True
    figures.note(tf32_tflops=product_rate(device, size, torch.float32))
    torch.backends.cuda.matmul.allow_tf32 = False
    figures.note(float32_tflops=product_rate(device, size // 2, torch.float32))
    figures.note(clocks_after=read_clocks())


def describe(device: str) -> dict[str, object]:
    """Name, size and versions of what runs the device."""
    if device == "cpu":
        return {"name": "emulated GPU"}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_mib": getattr(properties, "L2_cache_size", 0) >> 20,
        "driver": "".join(query("driver_version")),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def copy_rate(device: str, size: int) -> float:
    """GB/s of a copy on the device, bytes read and written."""
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)
    milliseconds = median_ms(lambda: target.copy_(source), device, repeats=20)
    return round(2 * size / milliseconds / 1e6, 1)


def product_rate(device: str, size: int, dtype: torch.dtype) -> float:
    """TFLOP/s of a product of square matrices."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty(size, size, device=device, dtype=dtype)
    milliseconds = median_ms(lambda: torch.mm(left, right, out=product), device, repeats=20)
    return round(2 * size**3 / milliseconds / 1e9, 1)


if __name__ == "__main__":
    main()
