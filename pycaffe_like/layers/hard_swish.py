"""HardSwish: a Swish of straight pieces and a parabola."""

from __future__ import annotations

from .elementwise import Elementwise


class HardSwish(Elementwise):
    """HardSwish, element by element: ``y = x min(max(x + 3, 0), 6) / 6``.

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Notes
    -----
    The gradient is dy times 0 for x <= -3, (2 x + 3) / 6 between, and 1 for x >= 3; the forks have none.
    In-place use is allowed; in training it keeps a copy of x. NaN passes through.

    References
    ----------
    A. Howard et al., Searching for MobileNetV3, ICCV 2019.

    Examples
    --------
    ::

        layer { name: "swish1" type: "HardSwish" bottom: "conv1" top: "conv1" }

    >>> from pycaffe_like.testing import run_layer
    >>> [round(y, 4) for y in run_layer('type: "HardSwish"', [-4.0, 1.0, 4.0])]
    [-0.0, 0.6667, 4.0]
    """

    type = "HardSwish"
