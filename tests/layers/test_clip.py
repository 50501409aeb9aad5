import numpy as np
import pytest
from helpers.direct import run
from helpers.elementwise import formula_tests
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import run_layer

EXAMPLE = Example("clip_param { min: -3 max: 2 }")  # far from where rounding would change a gradient
BOUNDS = "clip_param { min: -0.5 max: 0.25 }"
BACKWARD = {"alone": [("Clip", BOUNDS)], "in place": [("Bias", ""), ("Clip", BOUNDS)]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = EXACT

TestFormula = formula_tests(
    "Clip",
    lambda x, min, max: x.clip(min, max),
    lambda x, min, max: (x >= min) & (x <= max),
    [{"min": -0.5, "max": 0.25}, {"min": 1.0, "max": 1.0}],
    units=0,
)


def test_the_bounds_themselves_have_a_gradient():
    x, diff = np.array([-2, -1, 0, 1, 2], np.float32), np.full(5, 3, np.float32)
    result = run("Clip", {"min": -1.0, "max": 1.0}, x, top_diffs=[diff])
    assert np.array_equal(result.bottom_diffs[0], [0, 3, 3, 3, 0])


def test_crossed_bounds_are_refused():
    with pytest.raises(ConfigError, match="min must be <= max, got 2 and 1"):
        run_layer('type: "Clip" clip_param { min: 2 max: 1 }', [1.0])
