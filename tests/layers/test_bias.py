import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array, run
from helpers.layer_facts import SUMS, Example

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

EXAMPLE = Example('bias_param { filler { type: "uniform" min: -1 } }')
BACKWARD = {"alone": [("Bias", "")], "of a bottom": [("Bias x x2", "bias_param { axis: 0 }")]}
IMPOSSIBLE = [
    ("bias_param { num_axes: 3 }", [(2, 3)], "axes"),
    ("", [(2, 3), (4,)], r"\(4\)"),
]
FIELDS = {"axis": "bias_param { axis: 1 }"}
TOLERANCE = SUMS

SHAPE = (3, 5, 4, 2)

# axis, num_axes, and the bottom's axes that the bias has
SPANS = [
    (1, 1, (1,)),
    (0, 1, (0,)),
    (-1, 1, (3,)),
    (1, 2, (1, 2)),
    (2, 2, (2, 3)),
    (1, -1, (1, 2, 3)),
    (0, -1, (0, 1, 2, 3)),
    (1, 0, ()),
]
CASES = [(learned, *span) for learned in (False, True) for span in SPANS if learned or span[2]]


def oracle(x, bias, axes, diff):
    """Top, and the gradient of the bias, in float64."""
    spread = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    others = tuple(axis for axis in range(x.ndim) if axis not in axes)
    return x.astype(np.float64) + bias.reshape(spread), diff.astype(np.float64).sum(others)


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("learned", "axis", "num_axes", "axes"), CASES)
def test_a_bias_is_added_and_gets_the_sum_of_gradients(
    layout, dtype, in_place, learned, axis, num_axes, axes
):
    x, diff = random_array(*SHAPE, dtype=dtype), random_array(*SHAPE, dtype=dtype, seed=1)
    bias = random_array(*[SHAPE[axis] for axis in axes], dtype=dtype, seed=2)
    y, db = oracle(x, bias, axes, diff)
    form = {"layout": layout, "dtype": dtype, "in_place": in_place, "top_diffs": [diff]}
    args = {"axis": axis, "num_axes": num_axes}
    if learned:
        result = run("Bias", args, x, params=[bias], **form)
    else:
        result = run("Bias", args, x, bias, plain_bottoms=[1], **form)
    assert_near(result.tops[0], y, dtype, terms=2)
    assert np.array_equal(result.bottom_diffs[0], diff)
    got = result.param_diffs[0] if learned else result.bottom_diffs[1]
    assert_near(got, db, "float32" if learned else dtype, terms=x.size // max(bias.size, 1) + 1)


@every_form
@pytest.mark.parametrize(
    "shape", [(2, 127, 3, 3), (2, 128, 3, 3), (70, 129, 1, 1), (1, 1, 60, 70), (5, 2049)]
)
def test_channels_around_the_vector_width(layout, dtype, shape):
    x, diff = random_array(*shape, dtype=dtype), random_array(*shape, dtype=dtype, seed=1)
    bias = random_array(shape[1], seed=2)
    y, db = oracle(x, bias, (1,), diff)
    args = {"axis": 1, "num_axes": 1}
    result = run("Bias", args, x, params=[bias], top_diffs=[diff], layout=layout, dtype=dtype)
    assert_near(result.tops[0], y, dtype, terms=2)
    assert_near(result.param_diffs[0], db, terms=x.size // shape[1] + 1)


@pytest.mark.parametrize(("axis", "num_axes", "axes"), SPANS)
def test_the_gradient_of_a_learned_bias_accumulates(axis, num_axes, axes):
    x, diff = random_array(*SHAPE), random_array(*SHAPE, seed=1)
    bias = random_array(*[SHAPE[axis] for axis in axes], seed=2)
    args = {"axis": axis, "num_axes": num_axes}
    clean = run("Bias", args, x, params=[bias], top_diffs=[diff])
    dirty = run("Bias", args, x, params=[bias], param_diffs=[0.5], top_diffs=[diff])
    assert np.array_equal(dirty.param_diffs[0], clean.param_diffs[0] + np.float32(0.5))


def test_a_scalar_is_added_everywhere():
    x, diff = random_array(*SHAPE), random_array(*SHAPE, seed=1)
    args = {"axis": 1, "num_axes": 1}
    result = run("Bias", args, x, np.array(0.5, np.float32), top_diffs=[diff], layout="channels_last")
    assert np.array_equal(result.tops[0], x + np.float32(0.5))
    assert_near(result.bottom_diffs[1], np.sum(diff, dtype=np.float64), terms=x.size)


def test_an_empty_batch_adds_nothing_to_the_gradient():
    x = random_array(0, 5)
    result = run(
        "Bias", {"axis": 1, "num_axes": 1}, x, params=[random_array(5)], param_diffs=[1.0], top_diffs=[x]
    )
    assert np.array_equal(result.param_diffs[0], np.ones(5))


def test_a_learned_bias_starts_at_its_filler():
    net = layer_net('type: "Bias" bias_param { filler { value: 2 } }', [[1.0, 2.0]])
    assert net.params["layer"][0].data.tolist() == [2.0, 2.0]
    assert net.forward()["t0"].tolist() == [[3.0, 4.0]]
    assert layer_net('type: "Bias"', [[1.0, 2.0]]).params["layer"][0].data.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("param", "problem"),
    [("axis: 2", "axis 2 is out of range"), ("num_axes: 2", "reach past the last axis")],
)
def test_axes_that_do_not_exist_are_rejected(param, problem):
    with pytest.raises(ShapeError, match=problem) as error:
        layer_net(f'type: "Bias" bias_param {{ {param} }}', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", 3)


def test_a_second_bottom_that_does_not_fit_is_rejected():
    with pytest.raises(ShapeError, match="does not fit bottom 0"):
        layer_net('type: "Bias"', random_array(2, 3), random_array(2))


def test_num_axes_below_minus_one_is_rejected():
    with pytest.raises(ConfigError, match="num_axes must be an int >= -1, got -2") as error:
        layer_net('type: "Bias" bias_param {\nnum_axes: -2 }', random_array(2, 3))
    assert error.value.line == 4
