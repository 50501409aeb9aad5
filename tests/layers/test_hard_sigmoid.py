import numpy as np
from helpers.elementwise import formula_tests
from helpers.layer_facts import Example

EXAMPLE = Example("hard_sigmoid_param { alpha: 0.5 beta: 0.25 }")
BACKWARD = {"alone": [("HardSigmoid", "")], "in place": [("Bias", ""), ("HardSigmoid", "")]}
IMPOSSIBLE = []  # takes every shape


TestFormula = formula_tests(
    "HardSigmoid",
    lambda x, alpha, beta: (alpha * x + beta).clip(0, 1),
    lambda x, alpha, beta: np.where((alpha * x + beta > 0) & (alpha * x + beta < 1), alpha, 0),
    [{"alpha": 0.25, "beta": 0.5}, {"alpha": -1.0, "beta": 0.25}],
    inputs=lambda x: 3 * x,
)
