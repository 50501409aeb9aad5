"""Gives errors the place of the layer they are about."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError, DataError, DeviceError
from ..prototxt.definition import LayerDefinition
from .nodes import Graph, Node

# The executor knows only names; a fused step's name is those of its layers, joined by a plus.
_NAMED = re.compile(r"layer '(?P<step>.*?)': (?P<problem>.*)", re.DOTALL)


@contextmanager
def errors_of_layer(layer: LayerDefinition) -> Iterator[None]:
    """Complete errors raised while one layer is set up."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise layer.located(error) from None
    except OSError as error:
        if _is_users(error):
            raise
        raise layer.located(DataError(str(error))) from error
    except MemoryError as error:
        if _is_users(error):
            raise
        raise DeviceError(
            "there is not enough memory for this layer",
            where=layer.position(), layer=layer.name, layer_type=layer.type,
        ) from None  # fmt: skip


@contextmanager
def errors_of_steps(graph: Graph) -> Iterator[None]:
    """Complete errors raised while the executor runs or reshapes layers of the graph."""
    try:
        yield
    except (ConfigError, DataError) as error:
        named = _NAMED.fullmatch(error.problem) if error.layer is None else None
        node = _find(graph, named["step"]) if named else None
        if named is None or node is None:
            raise
        raise node.definition.located(type(error)(named["problem"], hint=error.hint)) from None
    except MemoryError as error:
        if _is_users(error):
            raise
        raise DeviceError("there is not enough memory for the net", hint="use a smaller batch") from None


@contextmanager
def errors_of_user_code(layer: LayerDefinition, what: str) -> Iterator[None]:
    """Tell out of which layer an error of a user's own code comes.

    Errors of this package are completed; any other stays what it is, and gets a note (PEP 678).

    Parameters
    ----------
    what : str
        What runs: a method of the user's class, or the import of its module.
    """
    try:
        yield
    except (ConfigError, DataError) as error:
        origin = traceback.extract_tb(error.__traceback__)[-1]
        error.hint = error.hint or f"raised in {what}, {origin.filename}:{origin.lineno}"
        raise layer.located(error) from error
    except Exception as error:
        place = layer.located(ConfigError(f"raised in {what}"))
        error.__notes__ = [*getattr(error, "__notes__", ()), str(place)]  # type: ignore[attr-defined]
        raise


def _is_users(error: Exception) -> bool:
    """Whether `errors_of_user_code` has completed an error."""
    return bool(getattr(error, "__notes__", None))


def _find(graph: Graph, step: str) -> Node | None:
    """Find the first layer of a step."""
    return next((node for node in graph.nodes if f"{step}+".startswith(f"{node.name}+")), None)
