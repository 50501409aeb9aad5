"""Swish: x times its logistic function."""

from __future__ import annotations

from .elementwise import Elementwise


class Swish(Elementwise):
    """Swish, or SiLU, element by element: ``y = x / (1 + exp(-beta x))``.

    Parameters
    ----------
    beta : float, default 1
        Fixed; 0 gives x / 2, large values the ReLU.

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
    The gradient is ``dy (s + beta x s (1 - s))`` with ``s = 1 / (1 + exp(-beta x))``. In-place use is
    allowed; in training it keeps a copy of x. NaN passes through.

    References
    ----------
    P. Ramachandran, B. Zoph and Q. Le, Searching for activation functions, 2017.

    Examples
    --------
    ::

        layer { name: "swish1" type: "Swish" bottom: "conv1" top: "conv1" }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "Swish"', [-1.0, 0.0, 2.0])]
    [-0.2689, 0.0, 1.7616]
    """

    type = "Swish"
    param = "swish_param"
    fields = ("beta",)
