"""TanH: hyperbolic tangent."""

from __future__ import annotations

from ..facts import Reads
from .elementwise import Elementwise


class TanH(Elementwise):
    """Hyperbolic tangent, element by element: ``y = tanh(x)``.

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
    In-place use is allowed: the gradient ``dy (1 - y^2)`` needs y alone. NaN passes through.

    References
    ----------
    Y. LeCun et al., Efficient backprop, 1998. Near 0 the series of S. Moshier's Cephes library.

    Examples
    --------
    ::

        layer { name: "act1" type: "TanH" bottom: "ip1" top: "ip1" }

    >>> from pycaffe_like.testing import run_layer
    >>> [[round(y, 4) for y in row] for row in run_layer('type: "TanH"', [[-1.0, 0.0, 20.0]])]
    [[-0.7616, 0.0, 1.0]]
    """

    type = "TanH"
    param = "tanh_param"
    ignored = {"engine": "chooses among implementations, of which there is one"}
    backward_reads = Reads(tops=True)
