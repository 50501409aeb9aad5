"""What a pass of the planner is, and the chain of all of them.

Each module of `plan.passes` holds one pass, its `PASS`; the folder is walked, there is no list.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache

from ..errors import ConfigError
from ..graph.nodes import Graph
from .options import NetOptions


def unchanged(graph: Graph, options: NetOptions) -> Graph:
    """Do nothing."""
    return graph


@dataclass(frozen=True)
class Pass:
    """One step from the declared graph to the one that runs.

    Attributes
    ----------
    name : str
        For ``-skip_pass`` and printouts.
    words : str
        What it does, for users.
    run : callable
        Graph to Graph, for these options; it may change the graph it is given.
    after : str
        Name of the pass it follows, empty for the first.
    instead : callable
        What runs in its place where it is left out.
    optional : bool
        Whether it may be left out.
    joins : bool
        Whether it lets one step run several declared layers.
    """

    name: str
    words: str
    run: Callable[[Graph, NetOptions], Graph] = unchanged
    after: str = ""
    instead: Callable[[Graph, NetOptions], Graph] = unchanged
    optional: bool = True
    joins: bool = False


@cache
def chain() -> tuple[Pass, ...]:
    """Find all passes, in the order they run; those that follow the same one run by name."""
    from . import passes

    names = [module.name for module in pkgutil.iter_modules(passes.__path__)]
    found = [importlib.import_module(f"{passes.__name__}.{name}").PASS for name in names]

    def behind(name: str) -> list[Pass]:
        followers = sorted((each for each in found if each.after == name), key=lambda each: each.name)
        return [one for each in followers for one in (each, *behind(each.name))]

    return tuple(behind(""))


def optional_passes() -> dict[str, Pass]:
    """Find the passes that may be left out, by name, in their order."""
    return {each.name: each for each in chain() if each.optional}


def joining_passes() -> list[str]:
    """Names of the passes that let one step run several declared layers."""
    return [each.name for each in chain() if each.joins]


def check_passes(names: Collection[str]) -> None:
    """Refuse names of passes that there are not."""
    known = optional_passes()
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no pass '{name}' to skip", hint=f"known passes: {', '.join(known)}")
