"""ReLU6: rectified linear units that saturate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from .elementwise import Elementwise


class ReLU6(Elementwise):
    """Bounded linear unit, element by element: ``y = min(max(x, 0) + negative_slope * min(x, 0), 6)``.

    Parameters
    ----------
    negative_slope : float, default 0
        Slope for x <= 0.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If there is both a relu6_param and a relu_param.

    Notes
    -----
    The gradient at 0 is `negative_slope`, at 6 and above 0. In-place use is allowed: for negative_slope >= 0
    the gradient needs y alone, for one below 0 a copy of x is kept in training. NaN passes through. The field
    `relu6_param` has all that `relu_param` has; without it that of `relu_param` counts, as some forks have
    it.

    References
    ----------
    A. Howard et al., MobileNets, 2017. The layer of the same name in MobileNet-YOLO's Caffe.

    Examples
    --------
    ::

        layer { name: "relu1" type: "ReLU6" bottom: "conv1" top: "conv1" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "ReLU6"', [-2.0, 3.0, 8.0])
    [0.0, 3.0, 6.0]
    """

    type = "ReLU6"
    param = "relu6_param"
    fields = ("negative_slope", "relu_param.negative_slope")
    ignored = {"engine": "chooses among implementations, of which there is one", "fuse": "tunes speed only"}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        message = layer.message
        param = message.relu6_param if message.HasField("relu6_param") else message.relu_param
        return {"negative_slope": float(param.negative_slope)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        if layer.message.HasField("relu_param") and layer.message.HasField("relu6_param"):
            raise layer.error("relu_param is for layers without relu6_param", "relu_param")

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        return Reads(bottoms=True) if node.arguments["negative_slope"] < 0 else Reads(tops=True)
