"""ReLU: rectified linear units."""

from __future__ import annotations

from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..prototxt.definition import LayerDefinition
from .elementwise import Elementwise


class ReLU(Elementwise):
    """Rectified linear unit, element by element: ``y = max(x, 0) + negative_slope * min(x, 0)``.

    Parameters
    ----------
    negative_slope : float, default 0
        Slope for x <= 0; 0 gives the plain ReLU, a small value the leaky one.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If the layer works in place with a negative slope below 0: the sign of x could not be told from y.

    Notes
    -----
    In-place use is allowed and saves memory. The gradient at 0 is `negative_slope`. NaN passes through, where
    Caffe's CPU code turns it into 0. `engine` and Intel's `fuse` are accepted and ignored.

    References
    ----------
    V. Nair and G. Hinton, Rectified linear units improve restricted Boltzmann machines, ICML 2010.

    Examples
    --------
    ::

        layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "ReLU" relu_param { negative_slope: 0.5 }', [[-2.0, 3.0]])
    [[-1.0, 3.0]]
    """

    type = "ReLU"
    param = "relu_param"
    fields = ("negative_slope",)
    ignored = {"engine": "chooses among implementations, of which there is one", "fuse": "tunes speed only"}

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        return Reads(bottoms=True) if node.arguments["negative_slope"] < 0 else Reads(tops=True)

    @classmethod
    def allows_in_place(cls, layer: LayerDefinition) -> bool:
        """See `LayerType.allows_in_place`."""
        return bool(layer.message.relu_param.negative_slope >= 0)

    @classmethod
    def work(cls, node: Node) -> dict[str, Any]:
        """See `LayerType.work`."""
        return {} if node.arguments["negative_slope"] else {"relu": True}
