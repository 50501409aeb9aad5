"""Exp: power of a base."""

from __future__ import annotations

from ..facts import Reads
from ..prototxt.definition import LayerDefinition
from .elementwise import Elementwise, check_base


class Exp(Elementwise):
    """Exponential function, element by element: ``y = base ^ (shift + scale * x)``.

    Parameters
    ----------
    base : float, default -1
        > 0; -1 stands for e.
    scale, shift : float, default 1 and 0
        Applied to x first.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If base is neither -1 nor a finite number > 0.

    Notes
    -----
    In-place use is allowed: the gradient ``dy y scale log(base)`` needs y alone. NaN passes through.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "width" type: "Exp" bottom: "log_width" top: "width" exp_param { base: 2 } }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "Exp" exp_param { base: 2 shift: 1 }', [-1.0, 0.0, 3.0])]
    [1.0, 2.0, 16.0]
    """

    type = "Exp"
    param = "exp_param"
    fields = ("base", "scale", "shift")
    backward_reads = Reads(tops=True)

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        check_base(layer, cls.param)
