"""The stub file says what the C++ core offers."""

import pytest

pytest.importorskip("pybind11_stubgen")

from helpers.make_stub import STUB, make_stub


def test_stub_is_that_of_the_built_module():
    assert STUB.read_text() == make_stub(), "run: python tests/helpers/make_stub.py"
