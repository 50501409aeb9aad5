"""Accuracy: share of right classifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Reads, Top
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Accuracy(LayerType):
    """Share of the labels that are among the ``top_k`` best scores.

    Parameters
    ----------
    top_k : int, default 1
        A label is right if fewer than `top_k` other classes score at least as high.
    axis : int, default 1
        Axis of the classes in the scores; negative values count from the end.
    ignore_label : int, optional
        Rows with this label count for nothing.

    Returns
    -------
    accuracy : scalar
        In 0 .. 1; 0 if every label is ignored.
    per_class : (C), optional
        The share among the labels of each class; 0 for a class without labels.

    Raises
    ------
    ShapeError
        If the labels are not as many as the scores have rows, or `top_k` exceeds the number of classes.
    DataError
        At forward, for a label that is neither a class nor the ignored one.
    ConfigError
        If a gradient is asked for; there is none.

    Notes
    -----
    Ties count against the label. So does a label whose score is NaN, which Caffe counts as right. Scores may
    be bfloat16, the tops are float32. `force_backward` leaves the layer out. Deterministic.

    References
    ----------
    O. Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015 (top-k accuracy). Tie
    rule as in Caffe.

    Examples
    --------
    ::

        layer {
          name: "accuracy" type: "Accuracy" bottom: "fc8" bottom: "label" top: "accuracy"
          include { phase: TEST } accuracy_param { top_k: 5 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Accuracy"', [[0.1, 0.9], [0.8, 0.2]], [1.0, 1.0])
    0.5
    """

    type = "Accuracy"
    param = "accuracy_param"
    fields = ("top_k", "axis", "ignore_label")
    bottoms = (Bottom("scores", gradient=False), Bottom("labels", exact=True, plain=True, gradient=False))
    tops = (Top("accuracy", exact=True), Top("accuracy of each class", exact=True, least=0))
    backward_reads = Reads()
    constraints = {"top_k": Rule(low=1)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.accuracy_param
        return {
            "axis": int(param.axis),
            "top_k": int(param.top_k),
            "ignores": param.HasField("ignore_label"),
            "ignore_label": int(param.ignore_label),
            "per_class": len(layer.tops) > 1,
        }
