import numpy as np
import pytest
from helpers.direct import every_form, run
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example, Timed

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example("relu_param { negative_slope: 0.1 }")
BACKWARD = {
    "in place": [("Bias", ""), ("ReLU", "")],
    "slope": [("ReLU", "relu_param { negative_slope: 0.5 }")],
    "negative slope": [("ReLU", "relu_param { negative_slope: -0.5 }")],
}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE
SANITIZED = True
TIMED = {"": Timed("", ((128, 64, 112, 112),))}

SLOPES = [0.0, 0.25, 1.0, -0.5]


def relu(x, *top_diffs, slope=0.0, **options):
    return run("ReLU", {"negative_slope": slope}, x, top_diffs=list(top_diffs) or None, **options)


TestFormula = formula_tests(
    "ReLU",
    lambda x, negative_slope: np.where(x > 0, x, negative_slope * x if negative_slope else 0 * x.clip(-1)),
    lambda x, negative_slope: np.where(x > 0, 1, negative_slope),
    [{"negative_slope": slope} for slope in SLOPES],
    units=1,
)


@pytest.mark.parametrize("slope", SLOPES)
def test_the_gradient_at_zero_is_the_slope(slope):
    result = relu(np.zeros(3, np.float32), np.array([1, -2, 4], np.float32), slope=slope)
    assert np.array_equal(result.tops[0], np.zeros(3))
    assert np.array_equal(result.bottom_diffs[0], slope * np.array([1, -2, 4], np.float32))


@every_form
def test_nan_passes_in_both_directions(layout, dtype):
    x = np.array([np.nan, 1, -1, 2], np.float32)
    diff = np.array([1, np.nan, np.nan, 3], np.float32)
    result = relu(x, diff, layout=layout, dtype=dtype)
    assert np.array_equal(result.tops[0], [np.nan, 1, 0, 2], equal_nan=True)
    assert np.array_equal(result.bottom_diffs[0], [0, np.nan, np.nan, 3], equal_nan=True)


def test_infinity_stays_infinite_above_and_with_a_slope_below():
    x = np.array([np.inf, -np.inf], np.float32)
    assert np.array_equal(relu(x, slope=0.5).tops[0], x)


def test_the_prototxt_sets_the_slope():
    net = layer_net('type: "ReLU" relu_param { negative_slope: 0.5 }', [-4.0, 3.0])
    assert net.forward()["t0"].tolist() == [-2.0, 3.0]


def in_place_net(slope):
    return net_from_text(
        f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 }} }} }}
        layer {{
          name: "leaky" type: "ReLU" bottom: "x"
          top: "x"
          relu_param {{ negative_slope: {slope} }}
        }}"""
    )


def test_a_negative_slope_in_place_is_rejected():
    with pytest.raises(ConfigError, match="cannot work in place") as error:
        in_place_net(-0.5)
    assert (error.value.layer, error.value.line) == ("leaky", 4)
    net = in_place_net(0.5)
    assert net.forward(x=[-4.0, 3.0])["x"].tolist() == [-2.0, 3.0]


@pytest.mark.parametrize(
    ("bottoms", "tops", "problem"), [(2, 1, "1 bottom"), (1, 2, "1 top"), (0, 1, "1 bottom")]
)
def test_wrong_numbers_of_blobs_are_rejected(bottoms, tops, problem):
    with pytest.raises(ConfigError, match=f"ReLU takes exactly {problem}") as error:
        layer_net('type: "ReLU"', *[[1.0]] * bottoms, tops=tops)
    assert error.value.layer == "layer"


@pytest.mark.parametrize("relu_follows", ["Convolution", "alone"])
def test_negative_infinity_becomes_zero(relu_follows):
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 2 } } }'
    if relu_follows == "Convolution":
        text += """layer { name: "c" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 1 kernel_size: 1 weight_filler { value: 1 } } }"""
    bottom = "c" if relu_follows == "Convolution" else "x"
    text += f'layer {{ name: "r" type: "ReLU" bottom: "{bottom}" top: "{bottom}" }}'
    net = net_from_text(text)
    net.blobs["x"].data[...] = [[[[-np.inf, 2.0]]]]
    net.forward()
    np.testing.assert_array_equal(net.blobs[bottom].data.ravel(), [0.0, 2.0])
