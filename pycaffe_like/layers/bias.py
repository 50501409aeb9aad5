"""Bias: adds one number a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Learned, Reads
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Bias(LayerType):
    """Add a bias along a range of axes: ``y = x + b``, by default one b for each channel (axis 1).

    Parameters
    ----------
    axis : int, default 1
        First axis of x that the bias has; negative values count from the last axis.
    num_axes : int >= -1, default 1
        Number of axes of a learned bias; -1 for all from `axis` on, 0 for a single number.
    filler : FillerParameter, default constant 0
        Initial values of a learned bias.

    Returns
    -------
    y
        Same shape, layout and type as the first bottom.

    Raises
    ------
    ConfigError
        If num_axes is below -1.
    ShapeError
        If the bias would have axes that x does not have, or the second bottom does not fit x.

    Notes
    -----
    One bottom: the bias is learned (blob 0). Two bottoms: it is the second one, `num_axes` and `filler` have
    no effect, and a scalar fits anywhere. In-place use over the first bottom is allowed. The sums of the
    gradient are made in double precision and do not vary from run to run.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "bias" type: "Bias" bottom: "conv1" top: "conv1" bias_param { filler { value: 0.1 } } }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Bias"', [[1.0, 2.0], [3.0, 4.0]], [10.0, 20.0])
    [[11.0, 22.0], [13.0, 24.0]]
    """

    type = "Bias"
    param = "bias_param"
    fields = ("axis", "num_axes", "filler")
    bottoms = (Bottom("x"), Bottom("bias", plain=True, least=0))
    in_place = True
    backward_reads = Reads()
    constraints = {"num_axes": Rule(low=-1)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.bias_param
        return {"axis": int(param.axis), "num_axes": int(param.num_axes)}

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        return [Learned(layer.message.bias_param.filler)] if len(layer.bottoms) == 1 else []
