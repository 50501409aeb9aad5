import numpy as np
import pytest
from helpers.elementwise import formula_tests
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import net_from_text

EXAMPLE = Example("threshold_param { threshold: 0.5 }")
BACKWARD = None
IMPOSSIBLE = []  # takes every shape
TOLERANCE = EXACT

TestFormula = formula_tests(
    "Threshold",
    lambda x, threshold: (x > threshold).astype(np.float64),
    None,
    [{"threshold": 0.0}, {"threshold": -0.5}],
    units=0,
)


def test_loss_above_it_is_refused():
    text = """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2 } }
        layer { name: "mask" type: "Threshold" bottom: "ip" top: "mask" loss_weight: 1 }"""
    with pytest.raises(ConfigError, match="Threshold has no gradient"):
        net_from_text(text)
