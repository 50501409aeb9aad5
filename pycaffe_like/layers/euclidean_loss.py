"""EuclideanLoss: half the mean squared distance, for regression."""

from __future__ import annotations

from ..facts import Bottom
from .loss import PairLoss


class EuclideanLoss(PairLoss):
    """Regression loss: ``sum of (a - b)^2 / (2 N)`` over all values, N being the first axis.

    Returns
    -------
    loss : scalar
        Has loss weight 1 unless given otherwise.

    Raises
    ------
    ShapeError
        If the bottoms differ in their first axis, or in their number of values.

    Notes
    -----
    ``da = (a - b) / N``, ``db = -da``: both bottoms have a gradient, and `force_backward` asks for both.
    Shapes may differ behind the first axis; values then correspond in logical order. Caffe takes at most four
    axes. Deterministic with any number of threads.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "loss" type: "EuclideanLoss" bottom: "pose" bottom: "target" top: "loss" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "EuclideanLoss"', [[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [3.0, 1.0]])
    2.5
    """

    type = "EuclideanLoss"
    bottoms = (Bottom("a"), Bottom("b"))
