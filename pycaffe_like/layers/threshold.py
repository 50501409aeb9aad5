"""Threshold: what is above a number."""

from __future__ import annotations

from ..facts import Bottom, Reads
from .elementwise import Elementwise


class Threshold(Elementwise):
    """Comparison, element by element: ``y = x > threshold ? 1 : 0``.

    Parameters
    ----------
    threshold : float, default 0

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If a gradient is asked for, by a loss above the layer.

    Notes
    -----
    Has no gradient. In-place use is allowed. Of NaN it is 0.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "mask" type: "Threshold" bottom: "prob" top: "mask" threshold_param { threshold: 0.5 } }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Threshold" threshold_param { threshold: 0.5 }', [0.25, 0.5, 0.75])
    [0.0, 0.0, 1.0]
    """

    type = "Threshold"
    param = "threshold_param"
    fields = ("threshold",)
    bottoms = (Bottom("x", gradient=False),)
    backward_reads = Reads()
