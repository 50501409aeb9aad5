import numpy as np
import pytest
from helpers.elementwise import formula_tests
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import net_from_text

EXAMPLE = Example()
BACKWARD = {"alone": [("AbsVal", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = EXACT

TestFormula = formula_tests("AbsVal", np.abs, np.sign, units=0)


def test_in_place_is_refused():
    x = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
    with pytest.raises(ConfigError, match="AbsVal cannot work in place"):
        net_from_text(x + 'layer { name: "size" type: "AbsVal" bottom: "x" top: "x" }')
