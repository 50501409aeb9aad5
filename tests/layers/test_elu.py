import numpy as np
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example

EXAMPLE = Example("elu_param { alpha: 0.5 }")
BACKWARD = {
    "alone": [("ELU", "")],
    "in place": [("Bias", ""), ("ELU", "")],
    "alpha below 0": [("ELU", "elu_param { alpha: -0.5 }")],
    "alpha below 0, in place": [("Bias", ""), ("ELU", "elu_param { alpha: -0.5 }")],
}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE

TestFormula = formula_tests(
    "ELU",
    lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    lambda x, alpha: np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0))),
    [{"alpha": 1.0}, {"alpha": 0.25}, {"alpha": 0.0}, {"alpha": -0.5}],
)
