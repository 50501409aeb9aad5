import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array, run
from helpers.layer_facts import SUMS, Example, Timed

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example('scale_param { filler { type: "uniform" min: 0.5 } bias_term: true }')
BACKWARD = {"alone": [("Scale", "")], "by a bottom": [("Scale x x2", "scale_param { axis: 0 }")]}
IMPOSSIBLE = [
    ("scale_param { num_axes: 3 }", [(2, 3)], "axes"),
    ("", [(2, 3), (2,)], r"\(2\)"),
]
FIELDS = {"bias_filler": "scale_param { bias_term: true }"}
TOLERANCE = SUMS
SANITIZED = True
TIMED = {"": Timed("scale_param { bias_term: true }", ((128, 256, 56, 56),), backward=(2, 1))}

SHAPE = (3, 5, 4, 2)

# axis, num_axes, and the bottom's axes that the coefficients have
SPANS = [
    (1, 1, (1,)),
    (0, 1, (0,)),
    (2, 1, (2,)),
    (-1, 1, (3,)),
    (0, 2, (0, 1)),
    (1, 2, (1, 2)),
    (2, 2, (2, 3)),
    (1, -1, (1, 2, 3)),
    (0, 3, (0, 1, 2)),
    (0, -1, (0, 1, 2, 3)),
    (1, 0, ()),
]


def arguments(axis=1, num_axes=1, bias_term=False):
    return {"axis": axis, "num_axes": num_axes, "bias_term": bias_term}


def oracle(x, scale, bias, axes, diff):
    """Top and gradients (of x, scale and bias) in float64."""
    spread = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    others = tuple(axis for axis in range(x.ndim) if axis not in axes)
    x, scale, bias, diff = (each.astype(np.float64) for each in (x, scale, bias, diff))
    y = x * scale.reshape(spread) + bias.reshape(spread)
    return y, [diff * scale.reshape(spread), (diff * x).sum(others), diff.sum(others)]


def coefficients(shape, axes, dtype="float32"):
    dims = [shape[axis] for axis in axes]
    return random_array(*dims, dtype=dtype, seed=2), random_array(*dims, dtype=dtype, seed=3)


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("bias_term", [False, True])
@pytest.mark.parametrize(("axis", "num_axes", "axes"), SPANS)
def test_learned_scale(layout, dtype, in_place, bias_term, axis, num_axes, axes):
    x, diff = random_array(*SHAPE, dtype=dtype), random_array(*SHAPE, dtype=dtype, seed=1)
    scale, bias = coefficients(SHAPE, axes)
    y, (dx, ds, db) = oracle(x, scale, bias * bias_term, axes, diff)
    result = run(
        "Scale", arguments(axis, num_axes, bias_term), x, params=[scale, bias][: 1 + bias_term],
        top_diffs=[diff], layout=layout, dtype=dtype, in_place=in_place,
    )  # fmt: skip
    terms = 2 + x.size // max(scale.size, 1)
    assert_near(result.tops[0], y, dtype, terms=2)
    assert_near(result.bottom_diffs[0], dx, dtype)
    for got, wanted in zip(result.param_diffs, [ds, db]):
        assert_near(got, wanted, "float32", terms)


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("bias_term", [False, True])
@pytest.mark.parametrize(("axis", "axes"), [(axis, axes) for axis, _, axes in SPANS if axes])
def test_scale_from_a_second_bottom(layout, dtype, in_place, bias_term, axis, axes):
    x, diff = random_array(*SHAPE, dtype=dtype), random_array(*SHAPE, dtype=dtype, seed=1)
    scale, bias = coefficients(SHAPE, axes, dtype)
    y, (dx, ds, db) = oracle(x, scale, bias * bias_term, axes, diff)
    result = run(
        "Scale", arguments(axis, 1, bias_term), x, scale, params=[bias][:bias_term], top_diffs=[diff],
        layout=layout, dtype=dtype, plain_bottoms=[1], in_place=in_place,
    )  # fmt: skip
    terms = 2 + x.size // max(scale.size, 1)
    assert_near(result.tops[0], y, dtype, terms=2)
    assert_near(result.bottom_diffs[0], dx, dtype)
    assert_near(result.bottom_diffs[1], ds, dtype, terms)
    for got in result.param_diffs:
        assert_near(got, db, "float32", terms)


@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_a_scalar_scales_everything(layout):
    x, diff, scale = random_array(*SHAPE), random_array(*SHAPE, seed=1), np.float32(-1.5)
    result = run("Scale", arguments(), x, np.array(scale), top_diffs=[diff], layout=layout, plain_bottoms=[1])
    assert np.array_equal(result.tops[0], x * scale)
    assert_near(result.bottom_diffs[1], np.sum(x.astype(np.float64) * diff), terms=x.size)


@every_form
@pytest.mark.parametrize(
    "shape", [(2, 127, 3, 3), (2, 128, 3, 3), (70, 129, 1, 1), (1, 1, 60, 70), (5, 2049), (3, 4, 2, 3, 2)]
)
def test_channels_around_the_vector_width(layout, dtype, shape):
    x, diff = random_array(*shape, dtype=dtype), random_array(*shape, dtype=dtype, seed=1)
    scale, bias = coefficients(shape, (1,))
    y, (dx, ds, db) = oracle(x, scale, bias, (1,), diff)
    result = run(
        "Scale",
        arguments(bias_term=True),
        x,
        params=[scale, bias],
        top_diffs=[diff],
        layout=layout,
        dtype=dtype,
    )
    assert_near(result.tops[0], y, dtype, terms=2)
    assert_near(result.bottom_diffs[0], dx, dtype)
    for got, wanted in zip(result.param_diffs, [ds, db]):
        assert_near(got, wanted, "float32", terms=x.size // shape[1] + 1)


@pytest.mark.parametrize(("axis", "num_axes", "axes"), SPANS)
def test_gradients_of_learned_blobs_accumulate(axis, num_axes, axes):
    x, diff = random_array(*SHAPE), random_array(*SHAPE, seed=1)
    scale, bias = coefficients(SHAPE, axes)
    args = arguments(axis, num_axes, bias_term=True)
    clean = run("Scale", args, x, params=[scale, bias], top_diffs=[diff])
    dirty = run("Scale", args, x, params=[scale, bias], param_diffs=[0.5, -2.0], top_diffs=[diff])
    assert np.array_equal(dirty.param_diffs[0], clean.param_diffs[0] + np.float32(0.5))
    assert np.array_equal(dirty.param_diffs[1], clean.param_diffs[1] + np.float32(-2))


def test_the_same_input_gives_the_same_bits():
    x, diff = random_array(16, 64, 20, 20), random_array(16, 64, 20, 20, seed=1)
    scale, bias = coefficients(x.shape, (1,))
    once, again = (
        run(
            "Scale",
            arguments(bias_term=True),
            x,
            params=[scale, bias],
            top_diffs=[diff],
            layout="channels_last",
        )
        for _ in range(2)
    )
    assert np.array_equal(once.param_diffs[0], again.param_diffs[0])
    assert np.array_equal(once.param_diffs[1], again.param_diffs[1])
    _, (_, ds, db) = oracle(x, scale, bias, (1,), diff)
    assert_near(once.param_diffs[0], ds, terms=6400)
    assert_near(once.param_diffs[1], db, terms=6400)


def test_an_empty_batch_adds_nothing_to_gradients():
    x = random_array(0, 5, 2, 2)
    scale = random_array(5)
    result = run("Scale", arguments(), x, params=[scale], param_diffs=[1.0], top_diffs=[x])
    assert result.tops[0].shape == x.shape
    assert np.array_equal(result.param_diffs[0], np.ones(5))
    bottom = run("Scale", arguments(), x, scale, top_diffs=[x])
    assert np.array_equal(bottom.bottom_diffs[1], np.zeros(5))


def test_only_wanted_gradients_are_written():
    x, scale, diff = random_array(2, 3), random_array(3, seed=1), random_array(2, 3, seed=2)
    result = run("Scale", arguments(), x, scale, top_diffs=[diff], propagate_down=[False, True])
    assert result.bottom_diffs[0] is None
    assert_near(result.bottom_diffs[1], (x * diff).sum(0), terms=2)


def in_place_net(param, more="", **options):
    return net_from_text(f"""
        {more}
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 5 }} }} }}
        layer {{ name: "s" type: "Scale" bottom: "x" top: "x" {param} }}
        """, **options)  # fmt: skip


def test_an_input_is_kept_only_where_a_gradient_needs_it():
    assert in_place_net("").memory().private == 0
    assert in_place_net("param { lr_mult: 0 }", "force_backward: true").memory().private == 480
    assert in_place_net("loss_weight: 1").memory().private == 480
    assert in_place_net("loss_weight: 1 param { lr_mult: 0 }").memory().private == 0


def test_backward_without_a_kept_input_is_refused():
    net = in_place_net("")
    net.forward()
    with pytest.raises(ConfigError, match="did not keep its input"):
        net.plan.executor.backward(0, len(net.plan.executor), all=True)
    net.forward()
    net.plan.executor.backward(0, len(net.plan.executor), all=True)


def test_fillers_default_to_one_and_zero():
    net = layer_net('type: "Scale" scale_param { bias_term: true }', random_array(2, 3))
    scale, bias = net.params["layer"]
    assert np.array_equal(scale.data, np.ones(3))
    assert np.array_equal(bias.data, np.zeros(3))


def test_given_fillers_are_used():
    param = "bias_term: true filler { value: 3 } bias_filler { value: 4 } num_axes: 0"
    net = layer_net(f'type: "Scale" scale_param {{ {param} }}', random_array(2, 3))
    scale, bias = net.params["layer"]
    assert (scale.data.shape, float(scale.data), float(bias.data)) == ((), 3.0, 4.0)


def test_with_two_bottoms_blob_0_is_the_bias():
    net = layer_net(
        'type: "Scale" scale_param { bias_term: true bias_filler { value: 4 } }', [[1.0, 2.0]], [5.0, 6.0]
    )
    assert [blob.data.tolist() for blob in net.params["layer"]] == [[4.0, 4.0]]
    assert net.forward()["t0"].tolist() == [[9.0, 16.0]]


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("axis: 2", "axis 2 is out of range"),
        ("axis: -3", "axis -3 is out of range"),
        ("num_axes: 2", "reach past the last axis"),
    ],
)
def test_axes_that_do_not_exist_are_rejected(param, problem):
    with pytest.raises(ShapeError, match=problem) as error:
        layer_net(f'type: "Scale" scale_param {{ {param} }}', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", 3)


@pytest.mark.parametrize("other", [(2,), (3, 1), (2, 3)])
def test_a_second_bottom_that_does_not_fit_is_rejected(other):
    with pytest.raises(ShapeError, match="does not fit bottom 0"):
        layer_net('type: "Scale"', random_array(2, 3), random_array(*other))


def test_num_axes_below_minus_one_is_rejected():
    with pytest.raises(ConfigError, match="num_axes must be an int >= -1, got -2") as error:
        layer_net('type: "Scale" scale_param {\nnum_axes: -2 }', random_array(2, 3))
    assert error.value.line == 4
