import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array, rounded
from helpers.layer_facts import SUMS, Example, Timed
from helpers.losses import PER_ITEM, check_loss, loss_net, run_in_form

from pycaffe_like.testing import net_from_text

EXAMPLE = Example(bottoms=((4, 3), (4, 3)))
BACKWARD = {"alone": [("EuclideanLoss x x2", "")]}
IMPOSSIBLE = [
    ("", [(4, 3), (4, 2)], r"\(4, 3\) and \(4, 2\)"),
    ("", [(4, 3), (2, 6)], "the same first axis"),
    ("", [(), ()], "first axis"),
]
TOLERANCE = SUMS
SANITIZED = True
TIMED = {"": Timed("", ((64, 64, 112, 112), (64, 64, 112, 112)), forward=(1, 0), backward=(2, 0))}


def reference(a, b):
    """Loss and gradients in float64."""
    difference = a.astype(np.float64) - b.reshape(a.shape)
    loss = np.sum(difference**2) / (2 * len(a))
    return loss, difference / len(a), -difference.reshape(b.shape) / len(a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((4, 3), (4, 3)), ((1, 1), (1, 1)), ((5,), (5,)), ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((2, 12), (2, 3, 2, 2)), ((2, 3, 2, 2), (2, 12)), ((2, 3, 2, 2), (2, 3, 4)),
        ((2, 3, 2, 2), (2, 2, 3, 2)),
        ((2, 3, 2, 2, 2), (2, 3, 2, 2, 2)), ((2, 3, 1, 2, 1, 2), (2, 12)), ((1, 255), (1, 255)),
        ((1, 256), (1, 256)), ((1, 257), (1, 257)), ((3, 7, 50, 41), (3, 7, 50, 41)),
    ],
)  # fmt: skip
def test_both_bottoms_have_a_gradient(a, b):
    a, b = random_array(*a), random_array(*b, seed=1)
    check_loss(loss_net("EuclideanLoss", "", a, b), *reference(a, b), terms=1)


@every_form
def test_bottoms_in_any_form_give_a_float32_loss(layout, dtype):
    a, b = random_array(2, 5, 3, 4, dtype=dtype), random_array(2, 5, 3, 4, dtype=dtype, seed=1)
    wanted, *gradients = reference(a, b)
    made, made_gradients = run_in_form("EuclideanLoss", PER_ITEM, [a, b], 2, layout, dtype)
    assert_near(made, wanted)
    for got, gradient in zip(made_gradients, gradients, strict=True):
        assert_near(got, gradient, dtype)


def test_target_that_is_float32_is_not_rounded_in_a_bfloat16_net():
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }
    layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }
    layer { name: "y" type: "Convolution" bottom: "x" top: "y"
      convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "gaussian" } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
    """
    net = net_from_text(text, precision="bfloat16")
    net.blobs["x"].data[...], net.blobs["t"].data[...] = random_array(2, 3, 2, 2), 1001
    loss = net.forward_loss()
    scores = np.array(net.blobs["y"].data, np.float32)
    np.testing.assert_array_equal(scores, rounded(scores, "bfloat16"))
    assert_near(loss, reference(scores, np.full(scores.shape, 1001.0))[0])


@pytest.mark.parametrize("flags", [(True, False), (False, True)])
def test_a_bottom_that_wants_no_gradient_is_left_alone(flags):
    given = " ".join(f"propagate_down: {str(flag).lower()}" for flag in flags)
    text = f"""
    layer {{ name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param {{ shape {{ dim: 2 dim: 3 }} }} }}
    layer {{ name: "a" type: "Bias" bottom: "x" top: "a" }}
    layer {{ name: "b" type: "Bias" bottom: "y" top: "b" bias_param {{ filler {{ value: 1 }} }} }}
    layer {{ name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "loss" {given} }}
    """
    net = net_from_text(text, 0)
    net.forward()
    for name in "ab":
        net.blobs[name].diff[...] = 7
    net.backward()
    found = [set(net.blobs[name].diff.ravel().tolist()) for name in "ab"]
    assert found == [{-0.5 if flags[0] else 7.0}, {0.5 if flags[1] else 7.0}]


def test_nan_gives_a_nan_loss_and_gradient():
    net = loss_net("EuclideanLoss", "", [[np.nan, 1.0]], [[0.0, 1.0]])
    assert np.isnan(net.forward_loss())
    net.backward()
    np.testing.assert_array_equal(net.blobs["b0"].diff, [[np.nan, 0.0]])


def test_the_sum_of_many_values_keeps_its_digits():
    a = np.full((1, 1 << 20), 0.1, np.float32)
    loss = loss_net("EuclideanLoss", "", a, np.zeros_like(a)).forward_loss()
    wanted = reference(a, np.zeros_like(a))[0]
    assert abs(loss - wanted) <= 1e-6 * wanted
