"""SoftmaxWithLoss: multinomial logistic loss of the softmax of scores."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..facts import Bottom, Top
from ..graph.nodes import Node
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from .loss import LABELS, NormalizedLoss


class SoftmaxWithLoss(NormalizedLoss):
    """Classification loss: ``sum of -log softmax(x)[label] / Z`` over all labels that are not ignored.

    Parameters
    ----------
    softmax_param.axis : int, default 1
        Axis of the classes in the scores; negative values count from the end.
    loss_param.ignore_label : int, optional
        Rows with this label count for nothing.
    loss_param.normalization : {"VALID", "FULL", "BATCH_SIZE", "NONE", "PRE_FIXED"}, default VALID
        Z: number of labels not ignored, of all labels, of items before the axis, 1, or
        `pre_fixed_normalizer`. At least 1.
    loss_param.normalize : bool, optional
        Older form, read if `normalization` is not set: true is VALID, false is BATCH_SIZE.
    loss_param.pre_fixed_normalizer : float > 0, default 1
        R-FCN's: Z of the mode PRE_FIXED.
    loss_param.label_smoothing : float in 0 .. 1, default 0
        With e, and C classes, the target of a row is 1 - e + e/C for its label and e/C for the others:
        ``loss = sum of -target log softmax(x) / Z``.
    loss_param.weight_by_label_freqs, class_weighting : bool, list of float
        SegNet's: loss and gradient of a label are multiplied by the weight of its class, one for each. Z
        stays.

    Returns
    -------
    loss : scalar
        Has loss weight 1 unless given otherwise.
    probabilities : shape of the scores, optional
        The softmax; has loss weight 0, and a gradient of it is not used.

    Raises
    ------
    ShapeError
        If the labels are not as many as the scores have rows, or the first axes differ.
    DataError
        At forward, for a label that is neither a class nor the ignored one.
    ConfigError
        If a gradient of the labels is asked for.

    Notes
    -----
    Labels are read row by row: for scores (N, C, H, W) in the order (n, h, w). The loss of one label is at
    most -log(FLT_MIN), about 87.3, as in Caffe; the gradient is not cut. Two tops without loss weights are
    accepted (Caffe rejects them). Scores may be bfloat16, the loss is float32. Deterministic with any number
    of threads.

    References
    ----------
    J. Long, E. Shelhamer and T. Darrell, Fully convolutional networks for semantic segmentation, CVPR 2015
    (one label a place, `ignore_label`). V. Badrinarayanan, A. Kendall and R. Cipolla, SegNet, 2015
    (`class_weighting`). C. Szegedy et al., Rethinking the inception architecture for computer vision, CVPR
    2016 (`label_smoothing`; NVIDIA's Caffe smooths the gradient only, and gives nothing to other classes).
    J. Dai, Y. Li, K. He and J. Sun, R-FCN, 2016 (PRE_FIXED). Other normalization modes as in Caffe.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss"
          loss_param { ignore_label: 255 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> round(run_layer('type: "SoftmaxWithLoss"', [[1.0, 1.0, 1.0, 1.0]], [2.0]), 4)  # ln(4)
    1.3863
    """

    type = "SoftmaxWithLoss"
    param = "softmax_param"
    fields = (
        *NormalizedLoss.fields,
        "axis",
        "loss_param.label_smoothing",
        "loss_param.weight_by_label_freqs",
        "loss_param.class_weighting",
    )
    ignored = {"engine": "chooses among kernels, of which there is one"}
    bottoms = (Bottom("scores"), LABELS)
    tops = (*NormalizedLoss.tops, Top("probabilities", exact=True, least=0))

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.loss_param
        if not 0 <= param.label_smoothing <= 1:
            problem = f"label_smoothing must be a number >= 0 and <= 1, got {param.label_smoothing:g}"
            raise layer.error(problem, "loss_param", "label_smoothing")
        if param.class_weighting and not param.weight_by_label_freqs:
            hint = "set loss_param.weight_by_label_freqs: true"
            problem = "class_weighting has no effect without weight_by_label_freqs"
            raise layer.error(problem, "loss_param", "class_weighting", hint=hint)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.loss_param
        return {
            **super().arguments(layer, bottoms),
            "axis": int(layer.message.softmax_param.axis),
            "probabilities": len(layer.tops) > 1,
            "label_smoothing": float(param.label_smoothing),
            "weighs_classes": bool(param.weight_by_label_freqs),
            "class_weights": list(param.class_weighting) if param.weight_by_label_freqs else [],
        }

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: maximum, difference, exponential, sum, division."""
        return 5 * prod(node.bottoms[0].shape)
