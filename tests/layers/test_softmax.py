import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array, rounded, run
from helpers.layer_facts import Example, Timed
from helpers.oracle import torch
from scipy.special import softmax

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

EXAMPLE = Example("softmax_param { axis: 1 }")
BACKWARD = {"alone": [("Softmax", "")]}
IMPOSSIBLE = [("softmax_param { axis: 2 }", [(2, 3)], "axis 2")]
TOLERANCE = (1e-4, 1e-6)
SANITIZED = True
TIMED = {"": Timed("", ((131072, 1000),), layout="plain")}

SHAPES = [
    (4, 5),
    (3, 1),
    (6,),
    (2, 3, 4),
    (2, 4, 3, 5),
    (1, 10, 1, 1),
    (2, 3, 2, 2, 3),
    (2, 127),
    (3, 128, 2, 1),
    (2, 5000),
]
CASES = [(shape, axis) for shape in SHAPES for axis in range(-len(shape), len(shape))]


def check(x, diff, axis, **form):
    result = run("Softmax", {"axis": axis}, x, top_diffs=[diff], **form)
    assert_near(result.tops[0], softmax(x.astype(np.float64), axis), form["dtype"])
    y = result.tops[0].astype(np.float64)  # in bfloat16 the gradient is that of the rounded result
    dx = y * (diff - np.sum(diff * y, axis, keepdims=True))
    assert_near(result.bottom_diffs[0], dx, form["dtype"], terms=max(2, x.shape[axis]))


@every_form
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_any_axis_of_any_shape(layout, dtype, shape, axis):
    x, diff = rounded(3 * random_array(*shape), dtype), random_array(*shape, dtype=dtype, seed=1)
    check(x, diff, axis, layout=layout, dtype=dtype)


def test_the_gradient_agrees_with_pytorch():
    x, diff = random_array(2, 21, 3, 4), random_array(2, 21, 3, 4, seed=1)
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    torch.softmax(leaf, 1).backward(torch.tensor(diff, dtype=torch.float64))
    result = run("Softmax", {"axis": 1}, x, top_diffs=[diff], layout="channels_last")
    assert_near(result.bottom_diffs[0], leaf.grad, terms=21)


@every_form
def test_in_place_gives_the_same(layout, dtype):
    x, diff = random_array(2, 21, 3, 4, dtype=dtype), random_array(2, 21, 3, 4, dtype=dtype, seed=1)
    check(x, diff, 1, layout=layout, dtype=dtype, in_place=True)


def test_large_scores_do_not_overflow():
    x = np.array([[1e30, 1e30, -1e30], [1000, 999, -1000], [-1e5, -1e5, -1e5]], np.float32)
    y = run("Softmax", {"axis": 1}, x).tops[0]
    assert_near(y, softmax(x.astype(np.float64), 1))


def test_an_infinitely_low_score_has_probability_zero():
    assert run("Softmax", {"axis": 1}, np.array([[0, -np.inf]], np.float32)).tops[0].tolist() == [[1.0, 0.0]]


def test_nan_spoils_its_row_only():
    y = run("Softmax", {"axis": 1}, np.array([[0, np.nan, 1], [0, 0, -np.inf]], np.float32)).tops[0]
    assert np.isnan(y[0]).all()
    assert y[1].tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3, 0, 4)])
def test_an_empty_blob_passes(shape):
    x = np.zeros(shape, np.float32)
    assert run("Softmax", {"axis": 1}, x, top_diffs=[x]).tops[0].shape == shape


def test_an_axis_that_does_not_exist_is_rejected():
    with pytest.raises(ShapeError, match="axis 2 is out of range") as error:
        layer_net('type: "Softmax" softmax_param { axis: 2 }', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", 3)


def test_other_kinds_of_normalization_are_rejected():
    with pytest.raises(
        ConfigError, match="field normalize_type of SoftmaxParameter is not supported"
    ) as error:
        layer_net('type: "Softmax" softmax_param {\nnormalize_type: "L2" }', random_array(2, 3))
    assert error.value.line == 4
