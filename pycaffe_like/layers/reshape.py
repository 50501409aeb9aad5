"""Reshape: other dims for the same values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Reshape(LayerType):
    """Give the same values, in the same order, another shape.

    Parameters
    ----------
    shape : BlobShape
        Dims that replace the bottom's axes `axis` .. `axis` + `num_axes` - 1. A dim of 0 copies the bottom's
        dim at that place, -1 (at most once) is found from the number of values.
    axis : int, default 0
        First axis to replace; negative values count from behind the last axis, so -1 appends.
    num_axes : int >= -1, default -1
        Number of axes to replace; 0 inserts, -1 replaces all to the end.

    Returns
    -------
    y
        Same values in the same order.

    Raises
    ------
    ConfigError
        If more than one dim is -1 or one is below -1, or a top is the bottom itself (in-place use).
    ShapeError
        If the axes do not exist or the number of values would change.

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

        layer {
          name: "pairs" type: "Reshape" bottom: "fc" top: "pairs"
          reshape_param { shape { dim: 0 dim: -1 dim: 2 } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Reshape" reshape_param { shape { dim: 0 dim: -1 dim: 2 } }', [[1.0, 2.0, 3.0, 4.0]])
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    type = "Reshape"
    param = "reshape_param"
    fields = ("shape", "axis", "num_axes")
    layout = "plain"
    backward_reads = Reads()
    writes_gradients = False
    constraints = {"num_axes": Rule(low=-1)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.reshape_param
        return {"dims": list(param.shape.dim), "axis": int(param.axis), "num_axes": int(param.num_axes)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        dims = list(layer.message.reshape_param.shape.dim)
        for index, dim in enumerate(dims):
            path = ("reshape_param", "shape", "dim", index)
            if dim < -1:
                raise layer.error(f"dim must be an int >= -1, got {dim}", *path)
            if dim == -1 and -1 in dims[:index]:
                raise layer.error("only one dim can be -1, got a second one", *path)

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
