"""MultinomialLogisticLoss: cross entropy of probabilities."""

from __future__ import annotations

from ..facts import Bottom
from .loss import LABELS, Loss


class MultinomialLogisticLoss(Loss):
    """Classification loss of probabilities: ``sum of -log(max(p[label], 1e-20)) / N`` over the N items.

    Returns
    -------
    loss : scalar
        Has loss weight 1 unless given otherwise.

    Raises
    ------
    ShapeError
        If there is not one label for each of the N items.
    DataError
        At forward, for a label that is no class.
    ConfigError
        If a gradient of the labels is asked for.

    Notes
    -----
    Behind a Softmax layer it is what SoftmaxWithLoss computes from the scores, with more rounding. Classes
    are all that is behind the first axis of the probabilities, in logical order. ``dp = -1 / (N max(p,
    1e-20))`` at the label, 0 elsewhere. Probabilities may be bfloat16, the loss is float32. Deterministic
    with any number of threads.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "loss" type: "MultinomialLogisticLoss" bottom: "prob" bottom: "label" top: "loss" }

    >>> from pycaffe_like.testing import run_layer
    >>> round(run_layer('type: "MultinomialLogisticLoss"', [[0.5, 0.5]], [1.0]), 4)  # ln(2)
    0.6931
    """

    type = "MultinomialLogisticLoss"
    layout = "plain"
    bottoms = (Bottom("probabilities"), LABELS)
