"""A stand-in for PyCUDA on the emulated GPU: kernels are compiled by the C++ compiler and run at once.

What is queued before them on the net's stream is waited for, which PyCUDA leaves to the order of the streams.
"""

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pycaffe_like import _core as core

_CUDA = """
#include <math.h>
#define __global__ extern "C"
struct Three { unsigned x, y, z; };
static Three threadIdx, blockIdx, blockDim, gridDim;
extern "C" void place(unsigned block, unsigned thread, unsigned blocks, unsigned threads) {
  blockIdx = {block, 0, 0}, threadIdx = {thread, 0, 0}, gridDim = {blocks, 1, 1}, blockDim = {threads, 1, 1};
}
"""


class Context:
    """The primary context; refuses what PyCUDA refuses outside of a context."""

    depth = 0
    most = 0

    def push(self) -> None:
        Context.depth += 1
        Context.most = max(Context.most, Context.depth)

    def pop(self) -> None:
        Context.depth -= 1

    @staticmethod
    def require() -> None:
        if Context.depth < 1:
            raise RuntimeError("explicit_context_dependent failed: invalid device context")


class Device:
    def __init__(self, number: int) -> None:
        self.number = number

    def retain_primary_context(self) -> Context:
        return Context()


class SourceModule:
    """Kernels of one dimension whose arguments are arrays and numpy.int32."""

    def __init__(self, source: str) -> None:
        Context.require()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernels.cpp"
            path.write_text(_CUDA + source)
            command = ["c++", "-shared", "-fPIC", "-O1", str(path), "-o", f"{folder}/kernels.so"]
            subprocess.run(command, check=True)
            self._library = ctypes.CDLL(f"{folder}/kernels.so")

    def get_function(self, name: str) -> Any:
        kernel = getattr(self._library, name)

        def launch(*arguments: Any, block: tuple[int, int, int], grid: tuple[int, int]) -> None:
            Context.require()
            core.synchronize()
            values = [_argument(argument) for argument in arguments]
            for place in np.ndindex(grid[0], block[0]):
                self._library.place(*place, grid[0], block[0])
                kernel(*values)

        return launch


def _argument(value: Any) -> Any:
    if isinstance(value, np.int32):
        return ctypes.c_int32(int(value))
    return ctypes.c_void_p(value.__cuda_array_interface__["data"][0])


class GPUArray:
    """Keeps what it is made of, as the real one does."""

    def __init__(
        self, shape: Any, dtype: Any, allocator: Any = None, base: Any = None, gpudata: Any = None,
        strides: Any = None, order: str = "C",
    ) -> None:  # fmt: skip
        Context.require()
        self.shape, self.dtype, self.base, self.strides = shape, np.dtype(dtype), base, strides
        self.gpudata = gpudata

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "strides": self.strides,
            "typestr": self.dtype.str,
            "data": (self.gpudata, False),
        }


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import pycuda` find the stand-in."""
    modules = {
        name: ModuleType(name) for name in ("pycuda", "pycuda.driver", "pycuda.gpuarray", "pycuda.compiler")
    }
    vars(modules["pycuda"])["driver"] = modules["pycuda.driver"]
    vars(modules["pycuda.driver"]).update(Device=Device, init=lambda: None)
    vars(modules["pycuda.gpuarray"]).update(GPUArray=GPUArray)
    vars(modules["pycuda.compiler"]).update(SourceModule=SourceModule)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Context, "most", 0)
