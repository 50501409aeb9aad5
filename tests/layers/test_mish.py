import numpy as np
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example
from scipy.special import expit

EXAMPLE = Example("mish_param { }")
BACKWARD = {"alone": [("Mish", "")], "in place": [("Bias", ""), ("Mish", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE


def mish(x):
    return x * np.tanh(np.logaddexp(x, 0))


def slope(x):
    tangent = np.tanh(np.logaddexp(x, 0))
    return tangent + x * (1 - tangent**2) * expit(x)


TestFormula = formula_tests("Mish", mish, slope)
