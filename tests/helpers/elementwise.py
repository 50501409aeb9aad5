"""Tests that every element-wise type passes, made from its formula and derivative in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from helpers.direct import Array, assert_near, every_form, random_array, rounded, run

SHAPES = [(2, 127, 3, 5), (2, 129, 2, 3, 2), (3, 129), (7,), ()]

Formula = Callable[..., npt.NDArray[Any]]


def formula_tests(
    kind: str,
    formula: Formula,
    derivative: Formula | None,
    settings: Sequence[Mapping[str, float]] = ({},),
    *,
    inputs: Callable[[Array], Array] = lambda x: x,
    units: float = 6,
) -> type:
    """Make the tests of one type, as a class to be collected.

    Parameters
    ----------
    formula, derivative : callable
        ``formula(x, **setting)`` for a float64 array; derivative is None for a type without a gradient.
    settings : sequence of mappings
        Arguments of the C++ layer to test with.
    inputs : callable
        Turns normal numbers into ones that the formula takes.
    units : float
        How many units in the last place results may be off, over the whole range of float32.
    """
    every_setting = pytest.mark.parametrize("setting", settings, ids=_words)

    def values(*shape: int, dtype: str = "float32") -> Array:
        return rounded(inputs(random_array(*shape)), dtype)

    def diffs(*shape: int, dtype: str = "float32") -> list[Array] | None:
        return [random_array(*shape, dtype=dtype, seed=1)] if derivative else None

    def check(result: Any, x: Array, diff: list[Array] | None, setting: Any, dtype: str = "float32") -> None:
        x = x.astype(np.float64)
        assert_near(result.tops[0], formula(x, **setting), dtype, terms=4)
        if derivative and diff:
            assert_near(result.bottom_diffs[0], diff[0] * derivative(x, **setting), dtype, terms=4)

    class Tests:
        @every_form
        @every_setting
        @pytest.mark.parametrize("shape", SHAPES)
        def test_values_and_gradients_are_those_of_the_formula(self, layout, dtype, setting, shape):
            x, diff = values(*shape, dtype=dtype), diffs(*shape, dtype=dtype)
            result = run(kind, dict(setting), x, top_diffs=diff, layout=layout, dtype=dtype)
            check(result, x, diff, setting, dtype)

        @every_form
        @every_setting
        def test_in_place_gives_the_same_bits(self, layout, dtype, setting):
            x, diff = values(2, 5, 3, 4, dtype=dtype), diffs(2, 5, 3, 4, dtype=dtype)
            form = {"top_diffs": diff, "layout": layout, "dtype": dtype}
            apart = run(kind, dict(setting), x, **form)
            inside = run(kind, dict(setting), x, in_place=True, **form)
            assert inside.tops[0].tobytes() == apart.tops[0].tobytes()
            if derivative:
                assert inside.bottom_diffs[0].tobytes() == apart.bottom_diffs[0].tobytes()

        @every_setting
        @pytest.mark.parametrize("in_place", [False, True])
        @pytest.mark.parametrize("count", [0, 1, 16_385, 70_001])
        def test_any_number_of_values_is_covered(self, count, in_place, setting):
            x, diff = values(count), diffs(count)
            check(run(kind, dict(setting), x, top_diffs=diff, in_place=in_place), x, diff, setting)

        @every_setting
        def test_every_float_gives_what_it_should(self, setting):
            """From the smallest number to infinity, and NaN."""
            sizes = [[0, np.inf, np.nan], np.logspace(-45, 38.5, 30_001), np.linspace(0, 20, 30_001)]
            with np.errstate(all="ignore"):
                x = np.concatenate(sizes).astype(np.float32)
                x = np.concatenate([x, -x])
                want = formula(x.astype(np.float64), **setting).astype(np.float32).astype(np.float64)
                got = run(kind, dict(setting), x).tops[0].astype(np.float64)
                same = (got == want) | (np.isnan(got) & np.isnan(want))
                near = np.abs(got - want) <= units * 2.0**-24 * np.abs(want) + 1e-42
            wrong = ~(same | near)
            assert not wrong.any(), f"f({x[wrong][0]!r}) = {got[wrong][0]!r}, wanted {want[wrong][0]!r}"

        if derivative:

            @every_setting
            def test_the_derivative_is_that_of_the_formula(self, setting):
                x, step = values(1000).astype(np.float64), 1e-6
                rate = (formula(x + step, **setting) - formula(x - step, **setting)) / (2 * step)
                np.testing.assert_allclose(derivative(x, **setting) + 0 * x, rate, rtol=1e-6, atol=1e-6)

            @every_setting
            def test_an_unwanted_gradient_is_not_written(self, setting):
                result = run(kind, dict(setting), values(5), top_diffs=diffs(5), propagate_down=[False])
                assert result.bottom_diffs[0] is None

    Tests.__name__ = Tests.__qualname__ = f"Test{kind}"
    return Tests


def _words(setting: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:g}" for name, value in setting.items()) or "-"
