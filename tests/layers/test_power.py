import numpy as np
import pytest
from helpers.direct import run
from helpers.elementwise import formula_tests
from helpers.layer_facts import ELEMENTWISE, Example

EXAMPLE = Example("power_param { power: 3 scale: 0.5 shift: 2 }")
BACKWARD = {
    name: [*chain, ("Power", fields)]
    for name, fields in {
        "constant": "power_param { power: 2 scale: 0 }",
        "first": "power_param { scale: -2 }",
        "second": "power_param { power: 2 scale: 3 }",
        "third": "power_param { power: 3 }",
    }.items()
    for name, chain in ((name, []), (f"{name}, in place", [("Bias", "")]))
    if not name.startswith("constant")
}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = ELEMENTWISE


def setting(power, scale=1.0, shift=0.0):
    return {"power": float(power), "scale": scale, "shift": shift}


LINES = [(1.0, 0.0), (0.5, 0.25)]
CONSTANT = [setting(0), setting(0, 2.0, 1.0), setting(3, 0.0, 2.0), setting(0.5, 0.0, 4.0)]


def raised(x, power, scale, shift):
    if power == 0 or scale == 0:
        return np.full_like(x, shift**power)
    base = shift + scale * x
    # Of an infinite base below 0 NumPy has powers that are not whole.
    return np.where(base < 0, np.nan, base) ** power if power % 1 else base**power


def slope(x, power, scale, shift):
    if power == 0 or scale == 0:
        return np.zeros_like(x)
    return power * scale * (shift + scale * x) ** (power - 1)


# The logarithm is rounded, and has up to 128 units more than the result.
TestConstants = formula_tests("Power", raised, slope, CONSTANT, units=1)
TestPositivePowers = formula_tests(
    "Power", raised, slope, [setting(power, *line) for power in (1, 2, 3, 4) for line in LINES], units=200
)
TestNegativePowers = formula_tests(
    "Power",
    raised,
    slope,
    [setting(power, *line) for power in (-1, -2) for line in LINES],
    inputs=lambda x: np.copysign(np.abs(x) + 1, x),
    units=200,
)
TestOtherPowers = formula_tests(
    "Power",
    raised,
    slope,
    [setting(0.5), setting(-0.75), setting(1.5, 2.0)],
    inputs=lambda x: np.abs(x) + 0.1,
    units=200,
)


@pytest.mark.parametrize(("power", "slope"), [(1.5, 0), (2, 0), (3, 0), (0.5, np.inf), (-1, -np.inf)])
def test_gradient_at_a_base_of_0_is_the_limit(power, slope):
    result = run("Power", setting(power), np.zeros(3, np.float32), top_diffs=[np.ones(3, np.float32)])
    assert np.array_equal(result.bottom_diffs[0], np.full(3, slope, np.float32))
