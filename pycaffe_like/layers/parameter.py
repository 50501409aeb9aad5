"""Parameter: a learned blob as a top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..facts import Learned, Reads, Top
from ..layer_type import LayerType, Shape
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition

if TYPE_CHECKING:
    from ..graph.nodes import Node


class Parameter(LayerType):
    """Give a learned blob to other layers: ``y = w``.

    Parameters
    ----------
    shape : BlobShape
        Shape of the blob; without any dim a single number.

    Returns
    -------
    y : the shape given
        The blob itself: what is written to it changes the blob.

    Raises
    ------
    ShapeError
        If the shape has more than 2^31 - 1 elements.

    Notes
    -----
    The learned blob begins with zeros, unless the layer's `blobs` hold other values. Its gradient is the sum
    of what the readers give, and accumulates (Caffe overwrites it, so that `iter_size` has no effect).
    float32 in a bfloat16 plan too.

    References
    ----------
    Behaviour as in Caffe's layer catalogue, Parameter.

    Examples
    --------
    ::

        layer {
          name: "prototypes" type: "Parameter" top: "prototypes"
          parameter_param { shape { dim: 10 dim: 64 } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> values = "blobs { shape { dim: 3 } data: [1, 2, 3] }"
    >>> run_layer(f'type: "Parameter" parameter_param {{ shape {{ dim: 3 }} }} {values}')
    [1.0, 2.0, 3.0]
    """

    type = "Parameter"
    param = "parameter_param"
    fields = ("shape",)
    bottoms = ()
    tops = (Top(exact=True, plain=True),)
    backward_reads = Reads()

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        return {"shape": list(layer.message.parameter_param.shape.dim)}

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        return [Learned(schema.FillerParameter())]

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
