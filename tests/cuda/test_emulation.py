"""The stand-in for the CUDA runtime on which kernels are tested without a GPU; `.ci/emulate` runs this."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.oracle import torch
from numpy.typing import NDArray

LIBRARY = os.environ.get("CAFFE_EMULATION_TEST", "")
pytestmark = pytest.mark.skipif(not LIBRARY, reason="needs the emulator (.ci/emulate)")

WARP = np.arange(32)
RNG = np.random.default_rng


def call(name: str, *arguments: Any) -> None:
    """Call a function of the test library; arrays go as pointers, integers as 64 bits unless wrapped."""
    function = getattr(ctypes.CDLL(LIBRARY), name)
    function.restype = ctypes.c_char_p
    error = function(
        *[a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
    )
    if error is not None:
        raise RuntimeError(error.decode())


def seen(name: str, count: int, *arguments: Any) -> list[float]:
    """Call a function that fills an array of what it saw."""
    values = np.full(count, -7, np.float32)
    call(name, *arguments, values)
    return values.tolist()


@pytest.mark.parametrize(("blocks", "threads"), [(1, 32), (1, 1024), (7, 96), (132, 256)])
@pytest.mark.parametrize("n", [1, 31, 33, 100_000])
def test_shuffles_and_barriers_sum_a_block(n: int, blocks: int, threads: int) -> None:
    x = RNG(n).integers(-8, 9, n).astype(np.float32)
    result = np.zeros(1, np.float32)
    call("test_sum", x, ctypes.c_int64(n), blocks, threads, result)
    assert result[0] == x.astype(np.float64).sum()


def test_lanes_exchange_as_documented() -> None:
    y = np.zeros((8, 32))
    call("test_shuffles", y)
    assert np.array_equal(y[0], WARP // 4 * 0.5)
    assert np.array_equal(y[1], WARP // 8 * 8 + 3)
    assert np.array_equal(y[2], np.where(WARP % 16 < 3, WARP, WARP - 3))
    assert np.array_equal(y[3], np.where(WARP + 5 < 32, WARP + 5, WARP))
    assert np.array_equal(y[4], WARP ^ 9)
    assert np.array_equal(y[5], np.full(32, (2.0 ** np.arange(0, 32, 3)).sum()))
    assert np.array_equal(y[6], np.full(32, 2))
    assert np.array_equal(y[7], np.where(WARP < 16, 1 + (WARP ^ 1), 17))


def test_atomic_add_counts_every_item() -> None:
    x = RNG(0).integers(0, 5, 10_000).astype(np.int32)
    counts = np.zeros(5, np.int32)
    call("test_counts", x, ctypes.c_int64(x.size), counts, ctypes.c_int64(5))
    assert np.array_equal(counts, np.bincount(x, minlength=5))


@pytest.mark.parametrize("threads", [1, 33, 1024])
def test_dynamic_shared_memory_is_the_blocks_own(threads: int) -> None:
    x = RNG(0).standard_normal((5, threads)).astype(np.float32)
    y = x.copy()
    call("test_reverse", y, 5, threads, True)
    assert np.array_equal(y, x[:, ::-1])


def test_missing_barrier_spoils_the_result_in_any_order() -> None:
    x = RNG(0).standard_normal((5, 64)).astype(np.float32)
    for _ in range(2):
        y = x.copy()
        call("test_reverse", y, 5, 64, False)
        assert np.isnan(y).any()


def test_positions_cover_three_axes() -> None:
    y = np.full(2 * 3 * 5 * 4 * 3 * 2, -1, np.int64)
    call("test_positions", np.uint32([2, 3, 5]), np.uint32([4, 3, 2]), y, ctypes.c_int64(y.size))
    assert np.array_equal(y, np.arange(y.size))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, ["kernel early_end", "61 of 64 threads wait at __syncthreads()", "threads.cu", "3 have ended"]),
        (1, ["kernel divergent", "threads wait at __syncthreads() in line"]),
        (2, ["kernel absent_lane", "for lanes of its warp's mask 0xffffffff", "threads.cu"]),
        (3, ["kernel different_masks", "different masks"]),
        (6, ["kernel array_of_the_host", "memory of the host"]),
    ],
)
def test_threads_that_miss_each_other_are_an_error(number: int, words: list[str]) -> None:
    with pytest.raises(RuntimeError) as error:
        call("test_mistake", number)
    for word in words:
        assert word in str(error.value)
    test_shuffles_and_barriers_sum_a_block(33, 2, 64)


@pytest.mark.skipif("libasan" not in os.environ.get("LD_PRELOAD", ""), reason="needs .ci/emulate --sanitize")
@pytest.mark.parametrize(
    ("number", "name"), [(4, "out_of_bounds_kernel"), (5, "shared_out_of_bounds_kernel")]
)
def test_sanitizer_names_the_kernel_that_leaves_its_array(number: int, name: str) -> None:
    program = f"import ctypes; ctypes.CDLL({LIBRARY!r}).test_mistake({number})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert re.search(rf"heap-buffer-overflow.*\n.*\n *#0 \w+ in {name} ", run.stderr), run.stderr


@pytest.mark.parametrize(
    ("blocks", "threads", "shared_bytes", "name"),
    [
        (1, 1025, 8192, "invalid configuration"),
        (2**31, 32, 128, "invalid configuration"),
        (1, 32, 300_000, "invalid argument"),
    ],
)
def test_launches_beyond_the_limits_are_refused(
    blocks: int, threads: int, shared_bytes: int, name: str
) -> None:
    with pytest.raises(RuntimeError, match=f"kernel reverse with {blocks} x 1 x 1 blocks.*{name}"):
        call("test_launch", ctypes.c_int64(blocks), ctypes.c_int64(threads), ctypes.c_size_t(shared_bytes))


def test_launch_asks_for_much_shared_memory_itself() -> None:
    call("test_launch", ctypes.c_int64(1), ctypes.c_int64(64), ctypes.c_size_t(200_000))


def test_no_blocks_launch_nothing() -> None:
    call("test_launch", ctypes.c_int64(0), ctypes.c_int64(2048), ctypes.c_size_t(0))


@pytest.mark.parametrize(
    ("items", "blocks"), [(0, 0), (1, 1), (256, 1), (257, 2), ((2**31 - 1) * 256, 2**31 - 1)]
)
def test_grid_has_a_thread_for_each_item(items: int, blocks: int) -> None:
    result = np.zeros(1, np.uint32)
    call("test_grid", ctypes.c_int64(items), 256, result)
    assert result[0] == blocks


def test_grid_refuses_more_blocks_than_a_launch_takes() -> None:
    with pytest.raises(RuntimeError, match="more blocks"):
        call("test_grid", ctypes.c_int64((2**31 - 1) * 256 + 1), 256, np.zeros(1, np.uint32))


def test_queued_copies_are_put_off_until_a_wait() -> None:
    assert seen("test_upload", 1, False) == [2]
    assert seen("test_upload", 1, True) == [1]
    assert seen("test_pageable_upload", 1) == [1]
    assert seen("test_download", 2) == [-1, 3]


def test_a_stream_sees_anothers_work_only_behind_its_event() -> None:
    assert seen("test_event", 1, False) == [0]
    assert seen("test_event", 1, True) == [1]


def test_events_measure_time() -> None:
    [milliseconds] = seen("test_elapsed", 1)
    assert 0 < milliseconds < 10_000


def test_captured_work_runs_at_each_replay() -> None:
    assert seen("test_replay", 3) == [0, 5, 15]


UNSUPPORTED, INVALIDATED, ISOLATION = 900, 901, 905  # values of cudaError_t


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, [UNSUPPORTED, INVALIDATED]),
        (1, [UNSUPPORTED, INVALIDATED]),
        (2, [ISOLATION, INVALIDATED]),
        (3, [UNSUPPORTED, INVALIDATED]),
        (4, [UNSUPPORTED, INVALIDATED]),
        (5, [UNSUPPORTED, INVALIDATED]),
        (6, [0, 0]),
    ],
    ids=["malloc", "wait", "outside-event", "wait-device", "blocking-copy", "pageable-copy", "nothing"],
)
def test_calls_that_a_capture_forbids_invalidate_it(number: int, expected: list[int]) -> None:
    errors = np.zeros(2, np.int32)
    call("test_illegal_capture", number, errors)
    assert errors.tolist() == expected


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "cudaErrorInvalidMemcpyDirection"),
        (1, "cudaErrorInvalidMemcpyDirection"),
        (2, "cudaErrorInvalidValue"),
        (3, "cudaErrorInvalidValue"),
    ],
    ids=["device-as-host", "device-to-device-as-host", "beyond-the-end", "host-as-device"],
)
def test_copies_that_do_not_fit_the_memory_are_refused(number: int, name: str) -> None:
    with pytest.raises(RuntimeError, match=name):
        call("test_wrong_copy", number)


def test_memory_of_the_device_ends() -> None:
    with pytest.raises(RuntimeError, match="cudaErrorMemoryAllocation: out of memory"):
        call("test_out_of_memory")


def test_new_memory_is_full_of_nan() -> None:
    assert np.isnan(seen("test_new_memory", 1)[0])


def rounder(bfloat16: bool) -> Callable[[NDArray[Any]], torch.Tensor]:
    """Return what makes the float64 tensor the emulator computes with of an array."""
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    return lambda values: torch.from_numpy(values).to(dtype).double()


def assert_close(result: NDArray[np.float32], expected: torch.Tensor, bfloat16: bool) -> None:
    """Sums are taken in double, so that the only error is that of the result's rounding."""
    np.testing.assert_allclose(result, expected.numpy(), rtol=2**-8 if bfloat16 else 2**-23, atol=1e-7)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(
    ("bias", "relu", "accumulate"), [(True, True, False), (True, False, False), (False, False, True)]
)
def test_matrix_product_is_pytorchs(
    bfloat16: bool, transpose_a: bool, transpose_b: bool, bias: bool, relu: bool, accumulate: bool
) -> None:
    m, n, k = 5, 7, 33
    rng = RNG(0)
    a, b, v, c = (rng.standard_normal(s).astype(np.float32) for s in [(m, k), (k, n), (n,), (m, n)])
    exact = rounder(bfloat16)
    expected = exact(a) @ exact(b)
    if accumulate:
        expected += exact(c)
    if bias:
        expected += torch.from_numpy(v)
    if relu:
        expected = expected.clamp(min=0)
    left = np.ascontiguousarray(a.T if transpose_a else a)
    right = np.ascontiguousarray(b.T if transpose_b else b)
    flags = np.array([transpose_a, transpose_b, bfloat16, bias, relu, accumulate])
    call("test_product", np.int64([m, n, k]), flags, left, right, v, c)
    assert_close(c, expected, bfloat16)


@pytest.mark.parametrize(
    ("shift", "used", "words"), [(8, 0, "a multiple of 16 bytes"), (0, 64, "a multiple of 256 bytes")]
)
def test_products_refuse_what_libraries_fail_on(shift: int, used: int, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call("test_product_in_place", shift, used, np.zeros(300, np.float32))


def test_products_leave_garbage_in_their_scratch_alone() -> None:
    scratch = np.zeros(300, np.float32)
    call("test_product_in_place", 16, 256, scratch)
    assert np.isnan(scratch).tolist() == [False] * 64 + [True] * 236


# (items, channels, outputs, group), then of each axis: in, kernel, stride, pad, dilation
CONVOLUTIONS = {
    "plain": ((2, 3, 4, 1), [(5, 6), (3, 2), (1, 1), (0, 0), (1, 1)]),
    "grouped": ((2, 6, 4, 2), [(7, 5), (3, 3), (2, 1), (1, 2), (1, 1)]),
    "depthwise": ((1, 4, 4, 4), [(6, 6), (3, 3), (1, 2), (1, 1), (2, 1)]),
    "volume": ((2, 2, 4, 2), [(4, 5, 3), (3, 1, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2)]),
}


def channels_last(x: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(x.detach().movedim(1, -1).numpy().astype(np.float32))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_pytorchs(name: str, relu: bool, accumulates: bool, bfloat16: bool) -> None:
    sizes, (shape, kernel, stride, pad, dilation) = CONVOLUTIONS[name]
    items, channels, outputs, group = sizes
    exact = rounder(bfloat16)
    rng = RNG(1)

    def draw(*shape: int) -> torch.Tensor:
        return exact(rng.standard_normal(shape).astype(np.float32))

    x = draw(items, channels, *shape).requires_grad_()
    w = draw(outputs, channels // group, *kernel).requires_grad_()
    bias = torch.from_numpy(rng.standard_normal(outputs).astype(np.float32))
    convolve = torch.nn.functional.conv2d if len(shape) == 2 else torch.nn.functional.conv3d
    product = convolve(x, w, None, stride, pad, dilation, group)
    dy, addend = draw(*product.shape), draw(*product.shape)
    dx, dw = torch.autograd.grad(product, [x, w], dy)
    before = draw(*x.shape) if accumulates else torch.zeros_like(x)
    y = product.detach() + bias.double().reshape(-1, *[1] * len(shape)) + addend

    geometry = np.int64([shape, product.shape[2:], kernel, stride, pad, dilation])
    flags = np.array([bfloat16, True, True, relu, accumulates])
    for number, expected in enumerate([y.clamp(min=0) if relu else y, before + dx, dw]):
        arrays = {key: channels_last(t) for key, t in {"x": x, "w": w, "addend": addend, "y": dy}.items()}
        result = arrays["yxw"[number]]
        result[:] = channels_last(before) if accumulates and number == 1 else np.nan
        call(
            *("test_convolution", number, np.int64(sizes), len(shape), geometry, flags),
            *(arrays["x"], arrays["w"], bias.numpy(), arrays["addend"], arrays["y"]),
        )
        assert_close(result, expected.movedim(1, -1), bfloat16)
