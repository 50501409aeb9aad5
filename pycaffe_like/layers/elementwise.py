"""What the types have in common that compute one formula, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ..facts import Reads
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition


class Elementwise(LayerType):
    """``y = f(x)``; the formulas are in `layers_cpp/formulas`, and take the fields as real numbers.

    Works in place: where backward reads x, the layer keeps a copy of it.
    """

    in_place = True
    backward_reads = Reads(bottoms=True)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        return {field: float(getattr(getattr(layer.message, cls.param), field)) for field in cls.fields}


def check_base(layer: LayerDefinition, param: str) -> None:
    """Check the base of a power or a logarithm; -1 stands for e."""
    base = getattr(layer.message, param).base
    if base != -1 and not 0 < base < inf:
        raise layer.error(f"base must be a number > 0, or -1 for e, got {base:g}", param, "base")
