"""AbsVal: absolute value."""

from __future__ import annotations

from .elementwise import Elementwise


class AbsVal(Elementwise):
    """Absolute value, element by element: ``y = |x|``.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Notes
    -----
    The gradient is ``dy sign(x)``, 0 at 0. In-place use is refused, as in Caffe.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "size" type: "AbsVal" bottom: "difference" top: "size" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "AbsVal"', [-2.0, 0.0, 3.0])
    [2.0, 0.0, 3.0]
    """

    type = "AbsVal"
    in_place = False
