import logging

import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, every_form, random_array, rounded, run
from helpers.layer_facts import ELEMENTWISE, MAP, Example, Timed

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

EXAMPLE = Example("eltwise_param { coeff: 1 coeff: -2 }", bottoms=(MAP, MAP))
BACKWARD = {
    "alone": [("Eltwise x x2", "")],
    "ReLU": [("Eltwise x x2", ""), ("ReLU", "")],
    "ReLU, Pooling MAX": [
        ("Eltwise x x2", ""), ("ReLU", ""), ("Pooling", "pooling_param { kernel_size: 2 }")
    ],
    "PROD": [("Eltwise x x2", "eltwise_param { operation: PROD }")],
    "PROD, not stable": [("Eltwise x x2", "eltwise_param { operation: PROD stable_prod_grad: false }")],
    "MAX": [("Eltwise x x2", "eltwise_param { operation: MAX }")],
}  # fmt: skip
IMPOSSIBLE = [
    ("", [(2, 3), (3, 2)], r"\(3, 2\)"),
    ("eltwise_param { coeff: 1 }", [(2, 3), (2, 3)], "coeff"),
]
FIELDS = {
    "operation": "eltwise_param { operation: SUM }",
    "coeff": ("eltwise_param { coeff: [1, -2] }", "[0.5, 0.25]"),
    "stable_prod_grad": "eltwise_param { operation: PROD }",
}
TOLERANCE = ELEMENTWISE
SANITIZED = True
TIMED = {"sum": Timed("", ((128, 256, 56, 56),) * 2, backward=(1, 1))}


def arguments(operation, coeff=(), bottoms=2, stable=True, relu=False):
    coeff = list(coeff) or [1.0] * bottoms
    settings = {"coeff": coeff, "stable_prod_grad": stable, "relu": relu, "relu_backward": True}
    return {"operation": operation, **settings}


def oracle(args, arrays):
    """Values in float64, and by what each bottom's gradient is the top's."""
    x = np.stack(arrays).astype(np.float64)
    if args["operation"] == "PROD":
        return x.prod(0), [np.delete(x, index, 0).prod(0) for index in range(len(x))]
    if args["operation"] == "MAX":
        return x.max(0), list(x == x.max(0))
    y = np.tensordot(args["coeff"], x, 1)
    kept = (y > 0) | (not args["relu"])
    return y * kept, [coeff * kept for coeff in args["coeff"]]


def check(args, arrays, layout, dtype, terms=1):
    diff = random_array(*arrays[0].shape, dtype=dtype, seed=99)
    wanted, factors = oracle(args, arrays)
    gradients = [diff * factor for factor in factors]
    result = run("Eltwise", args, *arrays, top_diffs=[diff], layout=layout, dtype=dtype)
    assert_near(result.tops[0], wanted, dtype, terms)
    for got, gradient in zip(result.bottom_diffs, gradients):
        assert_near(got, gradient, dtype, terms)


def inputs(count, dtype, shape=(2, 127, 3, 5)):
    return [random_array(*shape, dtype=dtype, seed=seed) for seed in range(count)]


@every_form
@pytest.mark.parametrize("count", [2, 3, 5])
def test_sum_adds_all_bottoms(layout, dtype, count):
    check(arguments("SUM", bottoms=count), inputs(count, dtype), layout, dtype, terms=count)


@every_form
@pytest.mark.parametrize("coeff", [(1.0, -1.0), (0.5, 2.0, 0.0)])
def test_sum_weighs_the_bottoms(layout, dtype, coeff):
    check(arguments("SUM", coeff), inputs(len(coeff), dtype), layout, dtype, terms=3)


@every_form
@pytest.mark.parametrize("coeff", [(1.0, 1.0), (1.0, -0.5, 2.0)])
def test_sum_with_fused_relu_clips_values_and_gradients(layout, dtype, coeff):
    check(arguments("SUM", coeff, relu=True), inputs(len(coeff), dtype), layout, dtype, terms=3)


@every_form
@pytest.mark.parametrize("stable", [True, False])
@pytest.mark.parametrize("count", [2, 4])
def test_prod_multiplies_all_bottoms(layout, dtype, count, stable):
    arrays = [np.sign(x) * (np.abs(x) + 0.5) for x in inputs(count, dtype)]
    arrays = [rounded(x, dtype) for x in arrays]
    check(arguments("PROD", bottoms=count, stable=stable), arrays, layout, dtype)


@every_form
@pytest.mark.parametrize("count", [2, 3])
def test_max_takes_the_largest(layout, dtype, count):
    draw = np.random.default_rng(5).integers  # whole numbers bfloat16 can hold, never equal in two bottoms
    arrays = [(count * draw(-40, 40, (2, 127, 3, 5)) + k).astype(np.float32) for k in range(count)]
    check(arguments("MAX", bottoms=count), arrays, layout, dtype)


def test_max_gives_ties_to_bottom_1_and_needs_more_from_later_bottoms():
    x = np.array([1.0, 2.0, 3.0, 1.0], np.float32)
    y = np.array([1.0, 1.0, 3.0, 1.0], np.float32)
    z = np.array([1.0, 2.0, 4.0, 0.0], np.float32)
    result = run("Eltwise", arguments("MAX", bottoms=3), x, y, z, top_diffs=[np.ones(4, np.float32)])
    assert np.array_equal(result.tops[0], [1, 2, 4, 1])
    assert np.array_equal(result.bottom_diffs, [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]])


def test_stable_gradient_of_prod_is_exact_at_zero():
    x, y = np.array([0.0, 2.0], np.float32), np.array([3.0, 0.0], np.float32)
    stable = run("Eltwise", arguments("PROD"), x, y, top_diffs=[np.ones(2, np.float32)])
    assert np.array_equal(stable.bottom_diffs, [[3, 0], [0, 2]])
    quick = run("Eltwise", arguments("PROD", stable=False), x, y, top_diffs=[np.ones(2, np.float32)])
    assert np.isnan(quick.bottom_diffs[0][0])
    assert np.isnan(quick.bottom_diffs[1][1])


@pytest.mark.parametrize("relu", [False, True])
def test_a_hundred_bottoms_are_added(relu):
    coeff = [0.5 + index % 7 for index in range(100)]
    arrays = inputs(100, "float32", shape=(3, 43))
    check(arguments("SUM", coeff, relu=relu), arrays, "plain", "float32", terms=100)


@pytest.mark.skipif(DEVICE == "cpu", reason="the CPU has no such limit")
@pytest.mark.parametrize("operation", ["PROD", "MAX"])
def test_more_bottoms_than_a_kernel_takes_are_rejected(operation):
    with pytest.raises(ShapeError, match=f"operation {operation} takes at most 64 bottoms on a GPU, got 65"):
        run("Eltwise", arguments(operation, bottoms=65), *inputs(65, "float32", shape=(3,)))


def test_infinity_and_nan_pass_through_a_sum():
    x, y = np.array([np.inf, np.inf, np.nan], np.float32), np.array([1.0, -np.inf, 1.0], np.float32)
    top = run("Eltwise", arguments("SUM"), x, y).tops[0]
    assert top[0] == np.inf
    assert np.isnan(top[1:]).all()


@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX"])
def test_only_wanted_gradients_are_written(operation):
    x, y = random_array(3, 4), random_array(3, 4, seed=1)
    diff = random_array(3, 4, seed=2)
    both = run("Eltwise", arguments(operation), x, y, top_diffs=[diff])
    one = run("Eltwise", arguments(operation), x, y, top_diffs=[diff], propagate_down=[False, True])
    assert one.bottom_diffs[0] is None
    assert np.array_equal(one.bottom_diffs[1], both.bottom_diffs[1])


@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX"])
@pytest.mark.parametrize("count", [0, 1, 16_385, 70_001])
def test_any_number_of_elements_is_covered(operation, count):
    x, y = random_array(count), random_array(count, seed=1)
    numpy = {"SUM": np.add, "PROD": np.multiply, "MAX": np.maximum}[operation]
    assert_near(run("Eltwise", arguments(operation), x, y).tops[0], numpy(x, y))


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("operation: PROD coeff: 1 coeff: 2", "cannot be used with operation PROD"),
        ("coeff: 1", "once for each of 2 bottoms, got 1"),
        ("coeff: 1 coeff: 2 coeff: 3", "once for each of 2 bottoms, got 3"),
    ],
)
def test_bad_coefficients_are_rejected(param, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "Eltwise"\neltwise_param {{ {param} }}', [1.0], [2.0])
    assert (error.value.layer, error.value.line) == ("layer", 5)


def test_coefficients_of_max_are_ignored_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="caffe"):
        net = layer_net('type: "Eltwise" eltwise_param { operation: MAX coeff: 5 coeff: 1 }', [1.0], [2.0])
    assert "coeff has no effect" in caplog.text
    assert net.forward()["t0"] == [2.0]


def test_bottoms_of_two_shapes_are_rejected():
    with pytest.raises(ShapeError, match=r"bottom 0 has \(2, 1\), bottom 1 has \(1, 2\)") as error:
        layer_net('type: "Eltwise"', [[1.0], [2.0]], [[1.0, 2.0]])
    assert error.value.layer == "layer"
