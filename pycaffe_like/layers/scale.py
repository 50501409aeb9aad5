"""Scale: multiplies by one number a channel, and may add another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Learned, Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, top_count
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Scale(LayerType):
    """Multiply along a range of axes: ``y = x * s + b``, by default one s and b for each channel (axis 1).

    Parameters
    ----------
    axis : int, default 1
        First axis of x that the scale has; negative values count from the last axis.
    num_axes : int >= -1, default 1
        Number of axes of a learned scale; -1 for all from `axis` on, 0 for a single number.
    filler : FillerParameter, default constant 1
        Initial values of a learned scale.
    bias_term : bool, default false
        Also learn and add a bias b of the scale's shape.
    bias_filler : FillerParameter, default constant 0
        Initial values of the bias.

    Returns
    -------
    y
        Same shape, layout and type as the first bottom.

    Raises
    ------
    ConfigError
        If num_axes is below -1.
    ShapeError
        If the scale would have axes that x does not have, or the second bottom does not fit x.

    Notes
    -----
    One bottom: the scale is learned (blob 0, and the bias is blob 1). Two bottoms: the scale is the second
    one, `num_axes` and `filler` have no effect, a scalar fits anywhere, and the bias is blob 0. In-place use
    over the first bottom is allowed; it takes a copy of x where the gradient of the scale may be wanted. The
    gradient of a learned scale always accumulates; Caffe overwrites it for some shapes. The sums of the
    gradients are made in double precision and do not vary from run to run.

    References
    ----------
    S. Ioffe and C. Szegedy, Batch normalization, ICML 2015 (scale and shift, after a BatchNorm layer).

    Examples
    --------
    ::

        layer { name: "scale1" type: "Scale" bottom: "bn1" top: "bn1" scale_param { bias_term: true } }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Scale" scale_param { axis: 0 }', [[1.0, 2.0], [3.0, 4.0]], [10.0, -1.0])
    [[10.0, 20.0], [-3.0, -4.0]]
    """

    type = "Scale"
    param = "scale_param"
    fields = ("axis", "num_axes", "filler", "bias_term", "bias_filler")
    bottoms = (Bottom("x"), Bottom("scale", plain=True, least=0))
    in_place = True
    backward_reads = Reads(bottoms=True)
    constraints = {"num_axes": Rule(low=-1)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.scale_param
        return {"axis": int(param.axis), "num_axes": int(param.num_axes), "bias_term": bool(param.bias_term)}

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        param = layer.message.scale_param
        learned = []
        if len(layer.bottoms) == 1:
            one = schema.FillerParameter(value=1)
            learned.append(Learned(param.filler if param.HasField("filler") else one))
        if param.bias_term:
            learned.append(Learned(param.bias_filler))
        return learned

    @classmethod
    def work(cls, node: Node) -> dict[str, Any]:
        """See `LayerType.work`: with one scale and one shift a channel it is the end of a BatchNorm."""
        param = node.definition.message.scale_param
        of_channels = len(node.bottoms) == 1 and param.bias_term and param.axis == 1 and param.num_axes == 1
        return {"scale_bias": True} if of_channels else {}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`."""
        return 2 * top_count(node)
