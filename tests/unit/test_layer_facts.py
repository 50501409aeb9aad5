"""What is missing beside a layer type is told with the file that it belongs to."""

import sys

import pytest
from helpers import layer_facts
from helpers.layer_facts import Example, example, files_of_no_type, told

from pycaffe_like.layer_type import LayerType


@pytest.fixture
def new_type(monkeypatch, tmp_path):
    """A type called NewKind, in a file of its own, and a folder of tests without one for it."""
    kind = type("NewKind", (LayerType,), {"type": "NewKind", "__module__": "somewhere.new_kind"})
    monkeypatch.setattr(layer_facts, "layer_types", lambda: {"NewKind": kind})
    monkeypatch.setattr(layer_facts, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "test_new_kind", raising=False)
    yield tmp_path / "test_new_kind.py"
    sys.modules.pop("test_new_kind", None)


def test_type_without_tests_is_told_which_file_to_add(new_type):
    sentence = r"^layer type NewKind has no tests: add tests/layers/test_new_kind.py with EXAMPLE = "
    with pytest.raises(pytest.fail.Exception, match=sentence):
        told("NewKind", "FORMULA")


@pytest.mark.parametrize("name", ["EXAMPLE", "BACKWARD", "IMPOSSIBLE", "TOLERANCE"])
def test_file_without_a_constant_is_told_which(name, new_type):
    new_type.write_text("FORMULA = False\n")
    sentence = rf"^tests/layers/test_new_kind.py does not say its {name}: add {name} = "
    with pytest.raises(pytest.fail.Exception, match=sentence):
        told("NewKind", name)
    assert told("NewKind", "FORMULA") is False
    assert told("NewKind", "RUN") is True


def test_constants_are_those_of_the_file(new_type):
    new_type.write_text(
        "from helpers.layer_facts import Example\n\nEXAMPLE = Example(tops=3)\nBACKWARD = None\n"
    )
    assert example("NewKind") == Example(tops=3)
    assert told("NewKind", "BACKWARD") is None
    assert files_of_no_type() == []


def test_file_of_no_type_is_found(new_type):
    (new_type.parent / "test_newkind.py").write_text("import numpy\n\nEXAMPLE = None\n")
    assert files_of_no_type() == ["tests/layers/test_newkind.py"]


def test_every_file_with_an_example_is_that_of_a_type():
    assert files_of_no_type() == []
