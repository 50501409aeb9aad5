"""Solver types: one class for each update rule, and how a solver file chooses its own.

The arithmetic of a rule is in `layers_cpp/solver/rules.hpp`.
"""

from __future__ import annotations

import os

from ..errors import ConfigError
from ..prototxt.text import Document
from ..prototxt.upgrade import read_solver
from ..rules import Rule
from .checks import check_type
from .loop import Solver

_FRACTION = Rule(low=0, high=1, high_open=True)
_ZERO = Rule(low=0, high=0)


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    type = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"


class AdaGradSolver(Solver):
    """Rates shrink with the sum of squared gradients; takes no momentum."""

    type = "AdaGrad"
    rules = {"momentum": _ZERO}


class RMSPropSolver(Solver):
    """Rates follow a running mean of squared gradients; takes no momentum."""

    type = "RMSProp"
    rules = {"momentum": _ZERO, "rms_decay": _FRACTION}


class AdaDeltaSolver(Solver):
    """Steps follow running means of squared gradients and of squared steps."""

    type = "AdaDelta"
    rules = {"momentum": _FRACTION}


class AdamSolver(Solver):
    """Running means of gradients and of their squares, corrected for their start at zero."""

    type = "Adam"
    rules = {"momentum": _FRACTION, "momentum2": _FRACTION}


def solver_class(document: Document) -> type[Solver]:
    """Return the class that a solver file's `type` asks for; raises ConfigError if there is none."""
    kind = document.message.type
    for found in Solver.__subclasses__():
        if found.type == kind:
            return found
    check_type(document, kind)
    raise ConfigError(f"solver type '{kind}' has no class")


def get_solver(path: str | os.PathLike[str]) -> Solver:
    """Make the solver that a file describes.

    Parameters
    ----------
    path : str
        Solver prototxt; its `type` decides the class.
    """
    document = read_solver(os.fspath(path))
    return solver_class(document)(document)
