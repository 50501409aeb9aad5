"""The kernel that adds bias and addend and clips, where cuDNN or cuBLASLt do not; `.ci/emulate` runs this."""

import ctypes
import os

import numpy as np
import pytest
from helpers.direct import rounded

LIBRARY = os.environ.get("CAFFE_EMULATION_TEST", "")
pytestmark = pytest.mark.skipif(not LIBRARY, reason="needs the emulator (.ci/emulate)")


def add_bias_relu(y, bias, addend, *, relu, bfloat16):
    def pointer(array):
        return None if array is None else array.ctypes.data_as(ctypes.c_void_p)

    rows, channels = (ctypes.c_int64(size) for size in y.shape)
    result = y.copy()
    function = ctypes.CDLL(LIBRARY).test_bias_relu
    function.restype = ctypes.c_char_p
    error = function(rows, channels, bfloat16, pointer(bias), pointer(addend), relu, pointer(result))
    assert error is None, error
    return result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 127), (129, 128), (7, 12), (5, 6)])
@pytest.mark.parametrize("parts", ["bias", "bias relu", "addend", "relu", "bias addend relu"])
def test_sum_is_rounded_once(shape, parts, dtype):
    random = np.random.default_rng(shape[0])
    y, addend = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    bias = random.standard_normal(shape[1]).astype(np.float32)
    wanted = rounded(y, dtype)
    if "bias" in parts:
        wanted = wanted + bias
    if "addend" in parts:
        wanted = wanted + rounded(addend, dtype)
    if "relu" in parts:
        wanted = np.maximum(wanted, 0)
    result = add_bias_relu(
        y, bias if "bias" in parts else None, addend if "addend" in parts else None,
        relu="relu" in parts, bfloat16=dtype == "bfloat16",
    )  # fmt: skip
    assert np.array_equal(result, rounded(wanted, dtype))


def test_nan_is_not_clipped_away():
    y = np.array([[np.nan, -1, np.inf, -np.inf]], np.float32)
    result = add_bias_relu(y, None, None, relu=True, bfloat16=False)
    assert np.array_equal(result, [[np.nan, 0, np.inf, 0]], equal_nan=True)
