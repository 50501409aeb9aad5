"""Loads the build of the C++ core that fits this machine's instruction set, and stands in for it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from .cuda_libraries import library_folders
from .errors import DeviceError

_NEEDED = {
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma"},
    "avx2": {"avx2", "fma", "bmi2", "f16c"},
}


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def _load() -> ModuleType:
    flags = _cpu_flags()
    for isa, needed in _NEEDED.items():
        if not needed <= flags:
            continue
        try:
            return importlib.import_module(f"pycaffe_like._core_{isa}")
        except ModuleNotFoundError:
            continue  # this build leaves that instruction set out
    if not _NEEDED["avx2"] <= flags:
        raise DeviceError(
            "this processor lacks the AVX2 instruction set",
            hint="pycaffe-like needs an x86-64 processor with AVX2 and FMA",
        )
    raise DeviceError(
        f"no build of the C++ core for this processor lies in {Path(__file__).parent}",
        hint="install with: pip install -e .   (after pip install . start Python outside the sources)",
    )


_loaded = _load()
_loaded.set_library_folders(library_folders())
sys.modules[__name__] = _loaded
