"""HardSigmoid: a logistic function of straight pieces."""

from __future__ import annotations

from .elementwise import Elementwise


class HardSigmoid(Elementwise):
    """HardSigmoid, element by element: ``y = min(max(alpha x + beta, 0), 1)``.

    Parameters
    ----------
    alpha : float, default 0.2
        Slope.
    beta : float, default 0.5
        What y is at 0.

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
    The gradient is ``alpha dy`` where 0 < alpha x + beta < 1, else 0. In-place use is allowed; in training it
    keeps a copy of x. NaN passes through.

    References
    ----------
    A. Howard et al., Searching for MobileNetV3, ICCV 2019. The layer of the same name in Synopsys' Caffe.

    Examples
    --------
    ::

        layer { name: "gate" type: "HardSigmoid" bottom: "x" top: "gate" hard_sigmoid_param { beta: 0.4 } }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "HardSigmoid"', [-4.0, 1.0, 4.0])]
    [0.0, 0.7, 1.0]
    """

    type = "HardSigmoid"
    param = "hard_sigmoid_param"
    fields = ("alpha", "beta")
