from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example
from scipy.special import expit

EXAMPLE = Example()
BACKWARD = {"alone": [("Sigmoid", "")], "in place": [("Bias", ""), ("Sigmoid", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE

TestFormula = formula_tests("Sigmoid", expit, lambda x: expit(x) * expit(-x))
