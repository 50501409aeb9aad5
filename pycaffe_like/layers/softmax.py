"""Softmax: scores to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition


class Softmax(LayerType):
    """Turn scores along one axis into probabilities: ``y = exp(x) / sum(exp(x))``.

    Parameters
    ----------
    axis : int, default 1
        Axis of the classes; negative values count from the end.

    Returns
    -------
    y
        Same shape, layout and type as the bottom; sums to 1 along the axis.

    Raises
    ------
    ShapeError
        If the bottom has no such axis.

    Notes
    -----
    The maximum is subtracted first, so that no finite score overflows. In-place use is allowed. Deterministic
    with any number of threads. `engine` is accepted and ignored.

    References
    ----------
    J. S. Bridle, Probabilistic interpretation of feedforward classification network outputs, with
    relationships to statistical pattern recognition, Neurocomputing, 1990.

    References
    ----------
    J. Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990.

    Examples
    --------
    ::

        layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Softmax"', [[7.0, 7.0, -1000.0, 7.0, 7.0]])
    [[0.25, 0.25, 0.0, 0.25, 0.25]]
    """

    type = "Softmax"
    param = "softmax_param"
    fields = ("axis",)
    ignored = {"engine": "chooses among implementations, of which there is one"}
    in_place = True
    backward_reads = Reads(tops=True)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        return {"axis": int(layer.message.softmax_param.axis)}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: maximum, difference, exponential, sum, division."""
        return 5 * prod(node.bottoms[0].shape)
