"""Log: logarithm."""

from __future__ import annotations

from ..prototxt.definition import LayerDefinition
from .elementwise import Elementwise, check_base


class Log(Elementwise):
    """Logarithm, element by element: ``y = log(shift + scale * x) / log(base)``.

    Parameters
    ----------
    base : float, default -1
        > 0, but not 1; -1 stands for e.
    scale, shift : float, default 1 and 0
        Applied to x first.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If base is neither -1 nor a finite number > 0, or is 1.

    Notes
    -----
    The gradient is ``dy scale / (log(base) (shift + scale x))``. In-place use is allowed; in training it
    keeps a copy of x, where Caffe's gradient is wrong. Of 0 the logarithm is -inf, of what is below 0 NaN.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "entropy" type: "Log" bottom: "prob" top: "entropy" log_param { base: 2 } }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "Log" log_param { base: 2 scale: 2 }', [0.5, 1.0, 4.0])]
    [0.0, 1.0, 3.0]
    """

    type = "Log"
    param = "log_param"
    fields = ("base", "scale", "shift")

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        check_base(layer, cls.param)
        if layer.message.log_param.base == 1:
            raise layer.error("base must not be 1, whose logarithm is 0", "log_param", "base")
