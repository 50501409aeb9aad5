"""ELU: exponential linear units."""

from __future__ import annotations

from ..facts import Reads
from ..graph.nodes import Node
from .elementwise import Elementwise


class ELU(Elementwise):
    """Exponential linear unit, element by element: ``y = x > 0 ? x : alpha (exp(x) - 1)``.

    Parameters
    ----------
    alpha : float, default 1
        What -y tends to for small x.

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
    In-place use is allowed: for alpha >= 0 the gradient ``dy (x > 0 ? 1 : y + alpha)`` needs y alone; for
    alpha < 0, where Caffe's is wrong, a copy of x is kept in training. NaN passes through.

    References
    ----------
    D. Clevert, T. Unterthiner and S. Hochreiter, Fast and accurate deep network learning by exponential
    linear units, ICLR 2016.

    Examples
    --------
    ::

        layer { name: "elu1" type: "ELU" bottom: "conv1" top: "conv1" elu_param { alpha: 0.5 } }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "ELU"', [-1.0, 0.0, 2.0])]
    [-0.6321, 0.0, 2.0]
    """

    type = "ELU"
    param = "elu_param"
    fields = ("alpha",)

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        return Reads(bottoms=True) if node.arguments["alpha"] < 0 else Reads(tops=True)
