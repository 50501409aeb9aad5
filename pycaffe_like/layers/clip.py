"""Clip: bounds from below and above."""

from __future__ import annotations

from ..prototxt.definition import LayerDefinition
from ..rules import Rule
from .elementwise import Elementwise


class Clip(Elementwise):
    """Bound, element by element: ``y = max(min, min(x, max))``.

    Parameters
    ----------
    min, max : float, required
        The bounds, min <= max.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If a bound is missing or min > max.

    Notes
    -----
    The gradient is dy where min <= x <= max, else 0. In-place use is allowed; in training it keeps a copy of
    x, where Caffe's gradient is wrong. NaN passes through, where Caffe makes min of it.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "clip" type: "Clip" bottom: "x" top: "x" clip_param { min: 0 max: 6 } }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Clip" clip_param { min: -1 max: 1 }', [-2.0, 0.5, 3.0])
    [-1.0, 0.5, 1.0]
    """

    type = "Clip"
    param = "clip_param"
    fields = ("min", "max")
    constraints = {"min": Rule(required=True), "max": Rule(required=True)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.clip_param
        if param.min > param.max:
            problem = f"min must be <= max, got {param.min:g} and {param.max:g}"
            raise layer.error(problem, "clip_param", "min")
