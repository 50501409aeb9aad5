import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array, run
from helpers.layer_facts import SUMS, Example

from pycaffe_like.testing import layer_net

EXAMPLE = Example('prelu_param { filler { type: "uniform" min: -0.5 max: 0.5 } }')
BACKWARD = {
    "alone": [("PReLU", "")],
    "in place": [("Bias", ""), ("PReLU", "")],
    "frozen": [("PReLU", "param { lr_mult: 0 }")],
}
IMPOSSIBLE = [("", [(5,)], r"must have channels \(axis 1\), got shape \(5\)")]
TOLERANCE = SUMS

SHAPES = [(2, 127, 3, 5), (70, 129, 1, 1), (2, 3, 2, 3, 2), (1, 1, 60, 70), (5, 2049), (0, 3, 2, 2)]


def oracle(x, slopes, diff):
    """Top and both gradients in float64."""
    x, diff = x.astype(np.float64), diff.astype(np.float64)
    each = slopes.reshape([-1 if axis == 1 else 1 for axis in range(x.ndim)]) if slopes.ndim else slopes
    lower = diff * np.minimum(x, 0)
    sums = lower.sum(tuple(axis for axis in range(x.ndim) if axis != 1)) if slopes.ndim else lower.sum()
    return np.where(x > 0, x, each * x), np.where(x > 0, diff, each * diff), sums


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(layout, dtype, in_place, shared, shape):
    x, diff = random_array(*shape, dtype=dtype), random_array(*shape, dtype=dtype, seed=1)
    slopes = random_array(*[] if shared else [shape[1]], seed=2)  # of both signs
    result = run(
        "PReLU", {"channel_shared": shared}, x, params=[slopes], param_diffs=[2], top_diffs=[diff],
        layout=layout, dtype=dtype, in_place=in_place,
    )  # fmt: skip
    y, dx, slopes_diff = oracle(x, slopes, diff)
    assert_near(result.tops[0], y, dtype)
    assert_near(result.bottom_diffs[0], dx, dtype)
    assert_near(result.param_diffs[0], 2 + slopes_diff, terms=x.size // max(slopes.size, 1) + 1)


@pytest.mark.parametrize(("propagate_down", "learn"), [(True, False), (False, True), (False, False)])
def test_unwanted_gradients_are_not_written(propagate_down, learn):
    x, diff, slopes = random_array(2, 3, 4), random_array(2, 3, 4, seed=1), random_array(3, seed=2)
    result = run(
        "PReLU", {"channel_shared": False}, x, params=[slopes], param_diffs=[7], top_diffs=[diff],
        bottom_diffs=[np.full_like(x, 5)], propagate_down=[propagate_down], learn=[learn],
    )  # fmt: skip
    _, dx, slopes_diff = oracle(x, slopes, diff)
    if propagate_down:
        assert_near(result.bottom_diffs[0], dx)
    else:
        assert result.bottom_diffs[0] is None
    assert_near(result.param_diffs[0], 7 + slopes_diff if learn else np.full(3, 7), terms=8)


def test_gradient_at_0_is_the_slope():
    result = run(
        "PReLU", {"channel_shared": True}, np.zeros((1, 3), np.float32),
        params=[np.array(0.5, np.float32)], top_diffs=[np.array([[1, -2, 4]], np.float32)],
    )  # fmt: skip
    assert np.array_equal(result.bottom_diffs[0], [[0.5, -1, 2]])


def test_slopes_begin_at_a_quarter():
    net = layer_net('type: "PReLU"', np.zeros((2, 3, 4)))
    assert net.params["layer"][0].data.tolist() == [0.25] * 3
    net = layer_net(
        'type: "PReLU" prelu_param { channel_shared: true filler { value: 2 } }', np.zeros((2, 3))
    )
    assert net.params["layer"][0].data.tolist() == 2
