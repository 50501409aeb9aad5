"""LSTMUnit: one step of an LSTM without its matrix products."""

from __future__ import annotations

from ..facts import Bottom, Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, top_count


class LSTMUnit(LayerType):
    """One step of an LSTM: ``c' = cont f c + i g``, ``h = o tanh(c')``.

    The gates are ``i = s(a_i), f = s(a_f), o = s(a_o), g = tanh(a_g)`` with s(a) = 1 / (1 + e^-a).

    Returns
    -------
    c', h
        (T, N, H) each.

    Raises
    ------
    ShapeError
        If the bottoms do not fit together.

    Notes
    -----
    Bottoms: c (T, N, H); a (T, N, 4H), which holds a_i, a_f, a_o and a_g one behind the other; cont (T, N),
    which has no gradient. T is 1 in an unrolled LSTM, and in Caffe always. Where cont is 0 nothing of c
    counts, not even a NaN; for a cont between 0 and 1 the gradient is exact, where those of Caffe's CPU and
    GPU differ. Computes in float32.

    Caffe unrolls its LSTM into such units; here `LSTM` is one layer.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 1997.

    Examples
    --------
    ::

        layer {
          name: "unit" type: "LSTMUnit" bottom: "c_0" bottom: "gates" bottom: "cont" top: "c_1" top: "h_1"
        }

    >>> from pycaffe_like.testing import run_layer
    >>> gates = [[[0.0, 0.0, 0.0, 1.0]]]
    >>> [[[c]]], [[[h]]] = run_layer('type: "LSTMUnit"', [[[2.0]]], gates, [[1.0]], tops=2)
    >>> round(c, 4), round(h, 4)  # 2 / 2 + tanh(1) / 2, and tanh(c) / 2
    (1.3808, 0.4406)
    """

    type = "LSTMUnit"
    bottoms = (Bottom("c"), Bottom("gates"), Bottom("cont", exact=True, plain=True, gradient=False))
    tops = (Top("c"), Top("h"))
    layout = "plain"
    precision = "float32"
    backward_reads = Reads(bottoms=True, tops=("c",))

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: five exponentials and what is done with them for each unit."""
        return 10 * top_count(node)
