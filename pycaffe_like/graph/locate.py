"""Gives errors the place of the layer they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..definition import LayerDefinition
from ..errors import ConfigError, DataError, DeviceError
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
        raise layer.located(DataError(str(error))) from error
    except MemoryError:
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
    except MemoryError:
        raise DeviceError("there is not enough memory for the net", hint="use a smaller batch") from None


def _find(graph: Graph, step: str) -> Node | None:
    """Find the first layer of a step."""
    return next((node for node in graph.nodes if f"{step}+".startswith(f"{node.name}+")), None)
