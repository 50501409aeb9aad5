import numpy as np
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example

EXAMPLE = Example()
BACKWARD = {"alone": [("HardSwish", "")], "in place": [("Bias", ""), ("HardSwish", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE


TestFormula = formula_tests(
    "HardSwish",
    lambda x: x * ((x + 3).clip(0, 6) / 6),
    lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6)),
    inputs=lambda x: 3 * x,
)
