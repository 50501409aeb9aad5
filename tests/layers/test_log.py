import numpy as np
import pytest
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import run_layer

EXAMPLE = Example("log_param { base: 2 scale: 0.5 shift: 2 }")
ABOVE_ZERO = "log_param { shift: 8 }"
BACKWARD = {"alone": [("Log", ABOVE_ZERO)], "in place": [("Bias", ""), ("Log", ABOVE_ZERO)]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE


def log_of(base):
    return 1 if base == -1 else np.log(base)


TestFormula = formula_tests(
    "Log",
    lambda x, base, scale, shift: np.log(scale * x + shift) / log_of(base),
    lambda x, base, scale, shift: scale / (log_of(base) * (scale * x + shift)),
    [{"base": base, "scale": 1.0, "shift": 0.0} for base in (-1.0, 2.0, 0.25)],
    inputs=lambda x: np.abs(x) + 1.5,
)


def test_scale_and_shift_come_first():
    assert run_layer('type: "Log" log_param { base: 2 scale: 3 shift: 1 }', [1.0, 5.0]) == [2.0, 4.0]


@pytest.mark.parametrize("base", ["0", "-2", "inf", "nan"])
def test_base_that_is_none_is_refused(base):
    with pytest.raises(ConfigError, match=f"base must be a number > 0, or -1 for e, got {base}"):
        run_layer(f'type: "Log" log_param {{ base: {base} }}', [1.0])


def test_base_1_is_refused():
    with pytest.raises(ConfigError, match="base must not be 1"):
        run_layer('type: "Log" log_param { base: 1 }', [1.0])
