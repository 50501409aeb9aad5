import numpy as np
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example
from scipy.special import expit

EXAMPLE = Example()
BACKWARD = {"alone": [("BNLL", "")], "in place": [("Bias", ""), ("BNLL", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE

TestFormula = formula_tests("BNLL", lambda x: np.logaddexp(x, 0), expit)
