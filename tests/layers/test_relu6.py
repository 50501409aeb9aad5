import numpy as np
import pytest
from helpers.direct import run
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import run_layer

EXAMPLE = Example()
BACKWARD = {
    "alone": [("ReLU6", "")],
    "in place": [("Bias", ""), ("ReLU6", "")],
    "negative slope": [("ReLU6", "relu6_param { negative_slope: -0.5 }")],
    "negative slope, in place": [("Bias", ""), ("ReLU6", "relu6_param { negative_slope: -0.5 }")],
}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE


def bounded(x, negative_slope):
    leaky = np.where(x > 0, x, negative_slope * x if negative_slope else 0 * x.clip(-1))
    return np.minimum(leaky, 6)


def slope(x, negative_slope):
    return np.where(bounded(x, negative_slope) >= 6, 0, np.where(x > 0, 1, negative_slope))


TestFormula = formula_tests(
    "ReLU6",
    bounded,
    slope,
    [{"negative_slope": slope} for slope in (0.0, 0.25, -2.5)],
    inputs=lambda x: 4 * x,
    units=1,
)


def test_gradient_is_0_where_y_is_6():
    x, diff = np.array([-1, 0, 5, 6, 7], np.float32), np.full(5, 3, np.float32)
    result = run("ReLU6", {"negative_slope": 0.0}, x, top_diffs=[diff])
    assert np.array_equal(result.bottom_diffs[0], [0, 0, 3, 0, 0])


def test_two_slopes_are_refused():
    both = "relu_param { negative_slope: 0.5 } relu6_param { negative_slope: 0.5 }"
    with pytest.raises(ConfigError, match="relu_param is for layers without relu6_param"):
        run_layer(f'type: "ReLU6" {both}', [1.0])


def test_slope_may_stand_in_relu_param():
    assert run_layer('type: "ReLU6" relu_param { negative_slope: 0.5 }', [-4.0, 7.0]) == [-2.0, 6.0]
