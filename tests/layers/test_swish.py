from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example
from scipy.special import expit

EXAMPLE = Example("swish_param { beta: 2 }")
BACKWARD = {"alone": [("Swish", "")], "in place": [("Bias", ""), ("Swish", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE

TestFormula = formula_tests(
    "Swish",
    lambda x, beta: x * expit(beta * x),
    lambda x, beta: expit(beta * x) + beta * x * expit(beta * x) * expit(-beta * x),
    [{"beta": 1.0}, {"beta": 2.0}, {"beta": 0.0}, {"beta": -1.0}],
)
