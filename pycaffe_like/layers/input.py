"""Input: the blobs a net is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition


class Input(LayerType):
    """Blobs that the user fills; the tops of all Input layers are the net's inputs, in order.

    Parameters
    ----------
    shape : BlobShape, repeated
        Shape of each top: one for all, or one for each. With none the tops are scalars until the user gives
        them a shape with ``net.blobs[name].reshape(...)`` and calls ``net.reshape()``.

    Returns
    -------
    tops
        Any number of blobs of the given shapes.

    Raises
    ------
    ConfigError
        If the number of shapes is neither 0, 1 nor the number of tops.
    ShapeError
        If a shape has a negative dimension, more than 32 axes or more than 2^31 - 1 elements.

    Notes
    -----
    Forward and backward do nothing: the values stay until they are changed.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Input" input_param { shape { dim: 2 dim: 3 } }')
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    type = "Input"
    param = "input_param"
    fields = ("shape",)
    bottoms = ()
    tops = (Top(exact=True, most=None),)
    backward_reads = Reads()

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        shapes = [list(shape.dim) for shape in layer.message.input_param.shape] or [[]]
        if len(shapes) == 1:
            shapes *= len(layer.tops)
        return {"axes": [len(shape) for shape in shapes], "dims": [dim for shape in shapes for dim in shape]}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        shapes, tops = len(layer.message.input_param.shape), len(layer.tops)
        if shapes not in (0, 1, tops):
            problem = f"shape must be given once for all tops or once for each of {tops}, got {shapes}"
            raise layer.error(problem, "input_param", "shape", shapes - 1)

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
