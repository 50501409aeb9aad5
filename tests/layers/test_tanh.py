import numpy as np
from helpers.direct import run
from helpers.elementwise import formula_tests
from helpers.layer_facts import Example

EXAMPLE = Example()
BACKWARD = {"alone": [("TanH", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = (1e-4, 1e-6)

TestFormula = formula_tests("TanH", np.tanh, lambda x: 1 - np.tanh(x) ** 2, units=3)


def test_special_values():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, 1e30], np.float32)
    got = run("TanH", {}, x).tops[0]
    np.testing.assert_array_equal(got, np.array([0.0, -0.0, 1.0, -1.0, np.nan, 1e-30, 1.0], np.float32))
