import numpy as np
import pytest
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import run_layer

EXAMPLE = Example("exp_param { base: 2 scale: 0.5 shift: 1 }")
BACKWARD = {"alone": [("Exp", "")], "in place": [("Bias", ""), ("Exp", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE


def log_of(base):
    return 1 if base == -1 else np.log(base)


def power(x, base, scale, shift):
    return np.exp(log_of(base) * (shift + scale * x))


TestFormula = formula_tests(
    "Exp",
    power,
    lambda x, base, scale, shift: power(x, base, scale, shift) * scale * log_of(base),
    [
        {"base": -1.0, "scale": 1.0, "shift": 0.0},
        {"base": 2.0, "scale": 0.5, "shift": 1.0},
        {"base": 0.25, "scale": 1.0, "shift": -1.0},
    ],
    units=200,  # the exponent is rounded, and has up to 128 units more than the result
)


@pytest.mark.parametrize("base", ["0", "-2", "inf", "nan"])
def test_base_that_is_none_is_refused(base):
    with pytest.raises(ConfigError, match=f"base must be a number > 0, or -1 for e, got {base}"):
        run_layer(f'type: "Exp" exp_param {{ base: {base} }}', [1.0])
