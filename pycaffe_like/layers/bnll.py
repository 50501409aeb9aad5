"""BNLL: binomial normal log likelihood."""

from __future__ import annotations

from .elementwise import Elementwise


class BNLL(Elementwise):
    """Softplus, a smooth ReLU, element by element: ``y = log(1 + exp(x))``.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Notes
    -----
    The gradient is ``dy / (1 + exp(-x))``. In-place use is allowed; in training it keeps a copy of x, where
    Caffe's gradient is wrong. Small results keep all their digits. NaN passes through.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "soft" type: "BNLL" bottom: "ip1" top: "soft" }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "BNLL"', [-1.0, 0.0, 20.0])]
    [0.3133, 0.6931, 20.0]
    """

    type = "BNLL"
