"""PyCUDA on the GPU that nets run on: its context, and its arrays over the memory of blobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import _core as core

_of_thread = threading.local()  # PyCUDA's contexts belong to threads


@contextmanager
def pycuda_context() -> Iterator[None]:
    """Let PyCUDA work, within the block, in the context of the GPU that nets use.

    Raises
    ------
    ModuleNotFoundError
        PyCUDA is not installed: ``pip install 'pycaffe-like[pycuda]'``.
    DeviceError
        There is no GPU that can be used.

    Notes
    -----
    The methods of a layer on the GPU run within it. ``pycuda.autoinit`` makes another context, in which the
    memory of nets cannot be used.
    """
    context = _primary_context()
    context.push()
    try:
        yield
    finally:
        context.pop()


def _primary_context() -> Any:
    """The context that the CUDA runtime, hence every net, uses."""
    if not hasattr(_of_thread, "context"):
        from pycuda import driver

        core.use_accelerator()
        driver.init()
        _of_thread.context = driver.Device(core.chosen_accelerator()).retain_primary_context()
    return _of_thread.context


def pycuda_array(array: core.DeviceArray) -> Any:
    """Make a ``pycuda.gpuarray.GPUArray`` of a blob's ``gpu_data`` or ``gpu_diff``: the same memory.

    Raises
    ------
    ModuleNotFoundError
        PyCUDA is not installed: ``pip install 'pycaffe-like[pycuda]'``.
    """
    from pycuda.gpuarray import GPUArray

    interface = array.__cuda_array_interface__
    with pycuda_context():  # its limits decide how the array's functions are launched
        return GPUArray(
            array.shape, interface["typestr"], base=array, gpudata=array.ptr, strides=interface["strides"]
        )
