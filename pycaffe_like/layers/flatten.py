"""Flatten: folds several axes into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition


class Flatten(LayerType):
    """Fold the axes from `axis` to `end_axis` into one; by default (N, C, H, W) becomes (N, C * H * W).

    Parameters
    ----------
    axis : int, default 1
        First axis to fold; negative values count from the last axis.
    end_axis : int, default -1
        Last axis to fold, included.

    Returns
    -------
    y
        Same values in the same order.

    Raises
    ------
    ShapeError
        If there is no such axis, or `axis` comes after `end_axis`.
    ConfigError
        If a top is the bottom itself (in-place use).

    Notes
    -----
    The top shares data and diff with the bottom, without a copy. A 4-D or 5-D bottom is made C-contiguous
    first.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "flat" type: "Flatten" bottom: "pool5" top: "flat" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Flatten"', [[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]]
    """

    type = "Flatten"
    param = "flatten_param"
    fields = ("axis", "end_axis")
    layout = "plain"
    backward_reads = Reads()
    writes_gradients = False

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.flatten_param
        return {"axis": int(param.axis), "end_axis": int(param.end_axis)}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
