"""Mish: x times the tangent of its softplus."""

from __future__ import annotations

from .elementwise import Elementwise


class Mish(Elementwise):
    """Mish, element by element: ``y = x tanh(log(1 + exp(x)))``.

    Parameters
    ----------
    mish_param : MishParameter
        Has no fields; accepted for the forks that write it.

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
    The gradient is ``dy (t + x (1 - t^2) / (1 + exp(-x)))`` with t the tangent. In-place use is allowed; in
    training it keeps a copy of x. NaN passes through. The fork that has this layer takes y for x in its
    gradient.

    References
    ----------
    D. Misra, Mish: a self regularized non-monotonic activation function, BMVC 2020.

    Examples
    --------
    ::

        layer { name: "mish1" type: "Mish" bottom: "conv1" top: "conv1" }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "Mish"', [-1.0, 0.0, 1.0])]
    [-0.3034, 0.0, 0.8651]
    """

    type = "Mish"
    param = "mish_param"
