"""PReLU: rectified linear units whose slopes are learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Learned, Reads
from ..layer_type import LayerType, Shape
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition


class PReLU(LayerType):
    """Rectified linear unit with a learned slope a for each channel: ``y = max(x, 0) + a * min(x, 0)``.

    Parameters
    ----------
    filler : FillerParameter, default constant 0.25
        Initial values of the slopes.
    channel_shared : bool, default false
        Learn one slope for all channels.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ShapeError
        If the bottom has no channels, which are axis 1.

    Notes
    -----
    Learned: the slopes, of shape (C), or () if they are shared. The gradient at 0 is the slope. In-place use
    is allowed; in training it keeps a copy of x. The sums of the gradient are made in double precision and do
    not vary from run to run at one number of threads. NaN passes through.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, Delving deep into rectifiers, ICCV 2015.

    Examples
    --------
    ::

        layer { name: "relu1" type: "PReLU" bottom: "conv1" top: "conv1" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "PReLU"', [[-4.0, 2.0], [3.0, -1.0]])
    [[-1.0, 2.0], [3.0, -0.25]]
    """

    type = "PReLU"
    param = "prelu_param"
    fields = ("filler", "channel_shared")
    bottoms = (Bottom("x"),)
    in_place = True
    backward_reads = Reads(bottoms=True)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        return {"channel_shared": bool(layer.message.prelu_param.channel_shared)}

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        param = layer.message.prelu_param
        given = param.filler if param.HasField("filler") else schema.FillerParameter(value=0.25)
        return [Learned(given)]
