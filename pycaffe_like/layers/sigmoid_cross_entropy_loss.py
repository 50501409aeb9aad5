"""SigmoidCrossEntropyLoss: logistic loss of independent yes-or-no scores."""

from __future__ import annotations

from dataclasses import replace

from ..facts import Bottom
from .loss import LABELS, NormalizedLoss, PairLoss


class SigmoidCrossEntropyLoss(NormalizedLoss, PairLoss):
    """Loss of yes-or-no scores: ``sum of -t log p - (1 - t) log(1 - p), p = sigmoid(x)``, divided by Z.

    Parameters
    ----------
    loss_param.ignore_label : int, optional
        Places whose target, truncated towards zero, is this number count for nothing.
    loss_param.normalization : {"BATCH_SIZE", "VALID", "FULL", "NONE", "PRE_FIXED"}, default BATCH_SIZE
        Z: the first axis, number of targets not ignored, of all targets, 1, or `pre_fixed_normalizer`. At
        least 1.
    loss_param.normalize : bool, optional
        Older form, read if `normalization` is not set: true is VALID, false is BATCH_SIZE.
    loss_param.pre_fixed_normalizer : float > 0, default 1
        Z of the mode PRE_FIXED.

    Returns
    -------
    loss : scalar
        Has loss weight 1 unless given otherwise.

    Raises
    ------
    ShapeError
        If the bottoms differ in their first axis, or in their number of values.
    ConfigError
        If a gradient of the targets is asked for.

    Notes
    -----
    ``dx = (p - t) / Z``. Targets may be any numbers, in 0 .. 1 if p is to meet them; Caffe's GPU code gives
    another loss for others. Losses keep their digits however small they are. Scores may be bfloat16, targets
    and loss are float32. Deterministic with any number of threads.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "attributes" bottom: "label" top: "loss"
          loss_param { ignore_label: -1 normalization: VALID }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> round(run_layer('type: "SigmoidCrossEntropyLoss"', [[0.0, 0.0]], [[1.0, 0.0]]), 4)  # 2 ln(2)
    1.3863
    """

    type = "SigmoidCrossEntropyLoss"
    normalization = "BATCH_SIZE"
    bottoms = (Bottom("scores"), replace(LABELS, name="targets", plain=False))
