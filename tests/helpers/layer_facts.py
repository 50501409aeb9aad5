"""What the tests of one layer type tell the tests that hold for all types.

It stands as constants in `tests/layers/test_<stem>.py`, `<stem>` being the name of the type's own file in
`pycaffe_like/layers`:

``EXAMPLE = Example(...)``
    A small working layer.
``BACKWARD = {"case": [("Type", "fields"), ...]}``
    Chains of layers, by name, whose backward must read no more than the types say. The first layer reads
    "x", each other one the top of the one before; words after the type name the bottoms instead: "x" and "x2"
    of shape (2, 3, 6, 4), "label" of (2, 6, 4), or "b0", "b1", ... of the example. None: backward writes
    zeros at most.
``IMPOSSIBLE = [("fields", [shape, ...], "words"), ...]``
    Layers that must be refused: fields, shapes of the bottoms, pattern of the message.
``TOLERANCE = (relative, absolute)``
    How near the type comes to recorded results, the absolute part in units of the largest wanted value, at
    least 1. For types that have such results.
``FIELDS = {"pad_h": "pooling_param { ... }", ...}``
    Fields of the layer in which one of its parameters can have its effect, where EXAMPLE is not one: of
    another message with a dot ("loss_param.normalize"), with a value to try as a pair, None if there is none.
``FORMULA = False``
    It computes nothing, so that the docstring needs no formula.
``RUN = False``
    The docstring's example cannot run.
``ANY_LAYOUT = False``
    Its results follow the places in memory.
``SANITIZED = True``
    The GPU check runs it under compute-sanitizer: its kernels share memory, or look where others do not.
``TIMED = {"case": Timed(...), ...}``
    Layers by name, "" for the only one, whose GPU kernels the memory bounds: the GPU check compares their
    time with that of a copy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pycaffe_like.layer_type import layer_types

FOLDER = Path(__file__).parents[1] / "layers"

Shape = tuple[int, ...]
MAP: Shape = (2, 3, 5, 4)

EXACT = (0.0, 0.0)
ELEMENTWISE = (1e-5, 1e-6)
SUMS = (1e-4, 1e-5)


@dataclass(frozen=True)
class Example:
    """A layer and what it reads.

    Attributes
    ----------
    fields : str
        Fields of the layer besides name, type, bottom and top.
    bottoms : tuple of tuple of int
        Shapes of its bottoms.
    tops : int
        Number of its tops.
    labels : tuple of int
        Bottoms that hold class numbers 0, 1, 2.
    given : mapping of int to array
        Values of bottoms that must make sense (boxes, places), repeated or cut for another batch size; the
        other bottoms get numbers between -1 and 1.
    """

    fields: str = ""
    bottoms: tuple[Shape, ...] = (MAP,)
    tops: int = 1
    labels: tuple[int, ...] = ()
    given: Mapping[int, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Timed:
    """A layer whose passes take the time that memory takes.

    Attributes
    ----------
    fields : str
        Fields of the layer besides name, type, bottom and top.
    bottoms : tuple of tuple of int
        Shapes of its bottoms, batch first; it is divided for small runs. Several times as large as the
        second-level cache.
    forward, backward : tuple of float
        How often all bottoms together, and all tops together, cross the bus.
    layout : str
    """

    fields: str
    bottoms: tuple[Shape, ...]
    forward: tuple[float, float] = (1, 1)
    backward: tuple[float, float] = (1, 2)
    layout: str = "channels_last"


_OPTIONAL: Mapping[str, Any] = {
    "FIELDS": {}, "FORMULA": True, "RUN": True, "ANY_LAYOUT": True, "SANITIZED": False, "TIMED": {}
}  # fmt: skip
_FORMS = {
    "EXAMPLE": "Example(...)",
    "BACKWARD": '{"alone": [("Type", "fields")]}, or None if it has no backward',
    "IMPOSSIBLE": '[("fields", [shape, ...], "words"), ...]',
    "TOLERANCE": "(relative, absolute)",
}


def told(kind: str, name: str) -> Any:
    """Constant `name` of the tests of a type; what is missing fails with a sentence that says what to add."""
    path = _path(kind)
    problem = f"layer type {kind} has no tests: add {_shown(path)} with {_wanted('EXAMPLE')}"
    if path.exists():
        module = _module(path)
        if name in _OPTIONAL or hasattr(module, name):
            return getattr(module, name, _OPTIONAL.get(name))
        problem = f"{_shown(path)} does not say its {name}: add {_wanted(name)}"
    pytest.fail(problem, pytrace=False)


def example(kind: str) -> Example:
    """Return the example of a type."""
    found: Example = told(kind, "EXAMPLE")
    return found


def files_of_no_type() -> list[str]:
    """Test files that tell what nobody asks for: an EXAMPLE, but of no type."""
    known = {_path(kind) for kind in layer_types()}
    unknown = [path for path in sorted(FOLDER.glob("test_*.py")) if path not in known]
    return [_shown(path) for path in unknown if "\nEXAMPLE = " in path.read_text()]


def _path(kind: str) -> Path:
    stem = layer_types()[kind].__module__.rpartition(".")[2]
    return FOLDER / f"test_{stem}.py"


def _module(path: Path) -> ModuleType:
    """Import a test file under pytest's name for it: whoever comes first, it is imported once."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(path.stem)


def _shown(path: Path) -> str:
    return f"tests/layers/{path.name}"


def _wanted(name: str) -> str:
    return f"{name} = {_FORMS[name]} (see tests/helpers/layer_facts.py)"
