"""Looks at arrays on the emulated GPU, whose memory is the host's."""

import ctypes
import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pycaffe_like import _core as core

on_gpu = pytest.mark.skipif(os.environ.get("CAFFE_TEST_DEVICE") != "cuda", reason="needs a GPU")
emulated = pytest.mark.skipif(
    not os.environ.get("CAFFE_EMULATION_TEST"), reason="needs the emulator (.ci/emulate)"
)


def seen(array: Any) -> NDArray[Any]:
    """View what lies at the addresses that an array names, when all queued work is done."""
    core.synchronize()
    interface = array.__cuda_array_interface__
    last = sum(step * (dim - 1) for step, dim in zip(interface["strides"], interface["shape"]))
    size = int(interface["typestr"][2:])
    memory = (ctypes.c_char * (last + size)).from_address(interface["data"][0])
    dtype = np.uint16 if interface["typestr"] == "<V2" else interface["typestr"]
    return np.ndarray(interface["shape"], dtype, memory, strides=interface["strides"])
