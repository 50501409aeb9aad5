"""Power: shift, scale and power."""

from __future__ import annotations

from ..facts import Reads
from ..graph.nodes import Node
from .elementwise import Elementwise


class Power(Elementwise):
    """Power of a linear function, element by element: ``y = (shift + scale * x) ^ power``.

    Parameters
    ----------
    power, scale : float, default 1
        Where either is 0, y is a constant and the gradient 0.
    shift : float, default 0

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If there is not exactly one bottom and one top.

    Notes
    -----
    The gradient is ``dy power scale (shift + scale x)^(power - 1)``, also where Caffe divides 0 by 0.
    In-place use is allowed, and with power 1 needs nothing of x or y; otherwise a copy of x is kept in
    training, where Caffe's gradient is wrong. A base below 0 to a power that is not whole is NaN.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "square" type: "Power" bottom: "x" top: "square" power_param { power: 2 } }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "Power" power_param { power: 3 shift: 1 }', [-3.0, 0.0, 1.0])]
    [-8.0, 1.0, 8.0]
    """

    type = "Power"
    param = "power_param"
    fields = ("power", "scale", "shift")

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        linear = node.arguments["power"] in (0, 1) or node.arguments["scale"] == 0
        return Reads(bottoms=not linear)
