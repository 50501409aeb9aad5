import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array, run
from helpers.layer_facts import Example

EXAMPLE = Example()
BACKWARD = {"alone": [("TanH", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = (1e-4, 1e-6)


@every_form
@pytest.mark.parametrize("shape", [(2, 127, 3, 5), (2, 129, 2, 3, 2), (3, 129), (7,), ()])
def test_values_and_gradients(layout, dtype, shape):
    x, diff = random_array(*shape, dtype=dtype), random_array(*shape, dtype=dtype, seed=1)
    y = np.tanh(x.astype(np.float64))
    dx = diff * (1 - y * y)
    result = run("TanH", {}, x, top_diffs=[diff], layout=layout, dtype=dtype)
    assert_near(result.tops[0], y, dtype)
    assert_near(result.bottom_diffs[0], dx, dtype, terms=4)


@every_form
def test_in_place_gives_the_same_bits(layout, dtype):
    x, diff = random_array(2, 5, 3, 4, dtype=dtype), random_array(2, 5, 3, 4, dtype=dtype, seed=1)
    apart = run("TanH", {}, x, top_diffs=[diff], layout=layout, dtype=dtype)
    result = run("TanH", {}, x, top_diffs=[diff], layout=layout, dtype=dtype, in_place=True)
    assert np.array_equal(result.tops[0], apart.tops[0])
    assert np.array_equal(result.bottom_diffs[0], apart.bottom_diffs[0])


def test_whole_range_is_within_a_few_units_in_the_last_place():
    x = np.concatenate([np.logspace(-38, 2, 20001), np.linspace(0.5, 1, 20001)]).astype(np.float32)
    x = np.concatenate([-x, x])
    got = run("TanH", {}, x).tops[0]
    wanted = np.tanh(x.astype(np.float64))
    assert not (np.abs(got - wanted) > 3 * 2.0**-24 * np.abs(wanted) + 1e-45).any()


def test_special_values():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, 1e30], np.float32)
    got = run("TanH", {}, x).tops[0]
    np.testing.assert_array_equal(got, np.array([0.0, -0.0, 1.0, -1.0, np.nan, 1e-30, 1.0], np.float32))
