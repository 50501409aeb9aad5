"""Sigmoid: logistic function."""

from __future__ import annotations

from ..facts import Reads
from .elementwise import Elementwise


class Sigmoid(Elementwise):
    """Logistic function, element by element: ``y = 1 / (1 + exp(-x))``.

    Parameters
    ----------
    engine : {DEFAULT, CAFFE, CUDNN}
        Accepted and ignored.

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
    In-place use is allowed: the gradient ``dy y (1 - y)`` needs y alone. Small results keep all their digits,
    where Caffe's, 0.5 tanh(x / 2) + 0.5, are 0 below x = -17. NaN passes through.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "gate" type: "Sigmoid" bottom: "scores" top: "gate" }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "Sigmoid"', [-1.0, 0.0, 20.0])]
    [0.2689, 0.5, 1.0]
    """

    type = "Sigmoid"
    param = "sigmoid_param"
    ignored = {"engine": "chooses among implementations, of which there is one"}
    backward_reads = Reads(tops=True)
