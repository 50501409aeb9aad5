"""Code that a net's file names: whether it may run, and how it is found.

A program that builds nets has decided to run what they name. A command that is given a file has not: it runs
within `forbidden`, and its user says otherwise with a flag or an environment variable.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

from ..errors import nearest
from ..graph.locate import errors_of_user_code
from ..prototxt.definition import LayerDefinition
from .python_layer import Layer

VARIABLE = "CAFFE_ALLOW_PYTHON_LAYERS"
FLAG = "allow_python_layers"

_allowed = True


@contextmanager
def forbidden() -> Iterator[None]:
    """Refuse code that files name, unless `VARIABLE` is 1 in the environment; for the whole process."""
    global _allowed
    before, _allowed = _allowed, os.environ.get(VARIABLE) == "1"
    try:
        yield
    finally:
        _allowed = before


def allow() -> None:
    """Run code that files name; within `forbidden`, until its end."""
    global _allowed
    _allowed = True


def check_allowed(layer: LayerDefinition) -> None:
    """Refuse a layer written in Python where the user has not allowed it."""
    if not _allowed:
        raise layer.error(
            "a file may not run Python code unless you allow it",
            "type",
            hint=f"if you trust this file and the module it names, add -{FLAG} or set {VARIABLE}=1",
        )


def load_class(layer: LayerDefinition) -> type[Layer]:
    """Import the class that a layer's `python_param` names.

    Raises
    ------
    ConfigError
        There is no such module or class, or the class is no `Layer`.
    """
    param = layer.message.python_param
    module = _import_module(layer, param.module)
    found = getattr(module, param.layer, None)
    if found is None:
        known = [name for name, value in vars(module).items() if _is_layer(value)]
        raise layer.error(
            f"module '{param.module}' has no class '{param.layer}'", "python_param", "layer",
            hint=nearest(param.layer, known) or f"layers in it: {', '.join(known) or 'none'}",
        )  # fmt: skip
    if not _is_layer(found):
        raise layer.error(
            f"{param.module}.{param.layer} is no layer", "python_param", "layer",
            hint=f"derive it from caffe.Layer: class {param.layer}(caffe.Layer)",
        )  # fmt: skip
    return cast("type[Layer]", found)


def _is_layer(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Layer)


def _import_module(layer: LayerDefinition, name: str) -> ModuleType:
    path = ("python_param", "module")
    if not all(part.isidentifier() for part in name.split(".")):
        raise layer.error(f"module must be the name of a Python module, got '{name}'", *path)
    try:
        with errors_of_user_code(layer, f"the import of {name}"):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # the module is there, one that it imports is not
            raise
        hint = _nearest_module(str(error.name)) or "put the folder that holds it on PYTHONPATH"
        raise layer.error(f"there is no module '{error.name}'", *path, hint=hint) from None


def _nearest_module(name: str) -> str:
    """Word which modules beside a missing one have names like it."""
    package = name.rpartition(".")[0]
    folders = getattr(sys.modules[package], "__path__", []) if package else None
    prefix = f"{package}." if package else ""
    return nearest(name, (module.name for module in pkgutil.iter_modules(folders, prefix)))
