import itertools

import numpy as np
import pytest
from helpers.direct import DEVICE, FORMS, random_array, rounded

from pycaffe_like import _core as core

SHAPES = [
    (),
    (7,),
    (3, 5),
    (2, 3, 4),
    (2, 5, 3, 4),
    (2, 127, 3, 2),
    (1, 129, 2, 3),
    (2, 3, 4, 3, 2),
    (2, 128, 1, 1),
    (3, 70, 9, 15),
    (2, 3, 33, 40),
    (2, 9, 20, 15),
    (1, 300, 2, 4),
    (1, 1100, 1, 3),
]
PAIRS = list(itertools.product(FORMS, FORMS))


def convert(shape, from_form, to_form, x, dy, flag=True):
    """Run one Reorder both ways between two blobs of these layouts and types; returns the two blobs' reads.

    Plain float32 blobs stand at both ends, since bfloat16 blobs cannot be written from Python.
    """
    ends = [core.Blob(list(shape), "float32", "plain", DEVICE) for _ in range(2)]
    inner = [core.Blob(list(shape), dtype, layout, DEVICE) for layout, dtype in (from_form, to_form)]
    blobs = [ends[0], *inner, ends[1]]
    steps = [
        core.Step(
            name=f"reorder {index}", layer=core.create_layer("Reorder", DEVICE, {}), bottoms=[bottom],
            tops=[top], loss_weights=[0.0], propagate_down=[flag], need_backward=True,
        )
        for index, (bottom, top) in enumerate(itertools.pairwise(blobs))
    ]  # fmt: skip
    executor = core.Executor(steps, 0)
    executor.reshape()
    ends[0].data[...] = x
    executor.forward(0, 3)
    made = ends[1].data.copy()
    ends[1].diff[...] = dy
    executor.backward(0, 3)
    return made, ends[0].diff.copy(), blobs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("from_form", "to_form"), PAIRS)
def test_values_and_gradients_only_move(from_form, to_form, shape):
    x, dy = random_array(*shape), random_array(*shape, seed=1)
    narrow = "bfloat16" if "bfloat16" in (from_form[1], to_form[1]) else "float32"
    y, dx, _ = convert(shape, from_form, to_form, x, dy)
    assert np.array_equal(y, rounded(x, narrow))
    assert np.array_equal(dx, rounded(dy, narrow))


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (0,)])
@pytest.mark.parametrize(("from_form", "to_form"), PAIRS)
def test_empty_blobs_are_converted_to_empty_blobs(from_form, to_form, shape):
    x = np.zeros(shape, np.float32)
    y, dx, _ = convert(shape, from_form, to_form, x, x)
    assert y.shape == dx.shape == shape


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "shares"),
    [
        ((2, 7, 1, 1), True),
        ((2, 1, 3, 4), True),
        ((2, 7, 1, 1, 1), True),
        ((5, 7), True),
        ((2, 7, 1, 2), False),
        ((2, 2, 3, 4), False),
    ],
)
def test_blobs_that_lie_in_memory_alike_share_it(shape, shares, dtype):
    x = random_array(*shape, dtype=dtype)
    y, dx, blobs = convert(shape, ("plain", dtype), ("channels_last", dtype), x, x)
    _, before, after, _ = blobs
    assert (before.data_id == after.data_id, before.diff_id == after.diff_id) == (shares, shares)
    assert np.array_equal(y, x)
    assert np.array_equal(dx, x)


def test_another_type_shares_no_memory():
    x = random_array(2, 7, 1, 1, dtype="bfloat16")
    _, _, blobs = convert(x.shape, ("plain", "float32"), ("plain", "bfloat16"), x, x)
    assert blobs[1].data_id != blobs[2].data_id


def test_a_gradient_that_is_not_wanted_is_not_written():
    x = random_array(2, 3, 4, 5)
    _, dx, _ = convert(x.shape, ("plain", "float32"), ("channels_last", "bfloat16"), x, x, flag=False)
    assert not dx.any()


def test_nan_and_infinity_survive_the_way_to_bfloat16_and_back():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 3.4e38], np.float32)
    y, _, _ = convert(x.shape, ("plain", "float32"), ("plain", "bfloat16"), x, x)
    assert np.array_equal(y[:3], x[:3], equal_nan=True)
    assert np.signbit(y[3])
    assert y[4] == np.inf  # rounds up, past the largest
