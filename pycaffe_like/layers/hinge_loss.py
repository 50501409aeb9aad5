"""HingeLoss: one-against-all margin loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from .loss import LABELS, Loss


class HingeLoss(Loss):
    """Margin loss: ``sum of max(0, 1 - d x) / N`` over items and classes, d = 1 for the label, else -1.

    Parameters
    ----------
    norm : {"L1", "L2"}, default L1
        L2 adds up squares: ``max(0, 1 - d x)^2``.

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
    Classes are all that is behind the first axis of the scores, in logical order. The gradient is 0 at the
    margin itself. Scores may be bfloat16, the loss is float32. Deterministic with any number of threads.

    References
    ----------
    Y. Tang, Deep learning using linear support vector machines, 2013 (L2).

    Examples
    --------
    ::

        layer {
          name: "loss" type: "HingeLoss" bottom: "scores" bottom: "label" top: "loss"
          hinge_loss_param { norm: L2 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "HingeLoss"', [[0.5, -0.5]], [0.0])
    1.0
    """

    type = "HingeLoss"
    param = "hinge_loss_param"
    fields = ("norm",)
    layout = "plain"
    bottoms = (Bottom("scores"), LABELS)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.hinge_loss_param
        return {**super().arguments(layer, bottoms), "squares": param.norm == param.L2}
