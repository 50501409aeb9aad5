"""ContrastiveLoss: pulls similar pairs together and pushes others a margin apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..facts import Bottom, Reads
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule
from .loss import LABELS, PairLoss


class ContrastiveLoss(PairLoss):
    """Loss of pairs of vectors at a distance d: ``sum of y d^2 + (1 - y) max(0, margin - d)^2 / (2 N)``.

    Bottoms are the vectors a and b, and y: 1 if a pair is similar, 0 if not.

    Parameters
    ----------
    margin : float >= 0, default 1
        How far apart pairs should be that are not similar.
    legacy_version : bool, default false
        Older formula: ``max(0, margin - d^2)`` for them.

    Returns
    -------
    loss : scalar
        Has loss weight 1 unless given otherwise.

    Raises
    ------
    ShapeError
        If a and b differ in their first axis N, or in their number of values, or there are not N labels.
    ConfigError
        If a gradient of y is asked for.

    Notes
    -----
    Any y that is not 0, truncated towards zero, means similar. Both vectors have a gradient; that of a pair
    at distance 0 is 0, and 1e-4 is added where it is divided by d, as in Caffe. The legacy gradient is that
    of Caffe's CPU code; its GPU code lacks the factor a - b. Vectors may have any axes, in Caffe one only.
    Vectors may be bfloat16, the loss is float32. Deterministic with any number of threads.

    References
    ----------
    R. Hadsell, S. Chopra and Y. LeCun, Dimensionality reduction by learning an invariant mapping, CVPR 2006.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "ContrastiveLoss" bottom: "left" bottom: "right" bottom: "similar" top: "loss"
          contrastive_loss_param { margin: 1 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "ContrastiveLoss"', [[1.0], [0.5]], [[0.0], [0.0]], [1.0, 0.0])  # (1 + 0.25) / 4
    0.3125
    """

    type = "ContrastiveLoss"
    param = "contrastive_loss_param"
    fields = ("margin", "legacy_version")
    bottoms = (Bottom("a"), Bottom("b"), replace(LABELS, name="similar"))
    backward_reads = Reads(bottoms=("a", "b"))
    constraints = {"margin": Rule(low=0)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.contrastive_loss_param
        return {
            **super().arguments(layer, bottoms),
            "margin": float(param.margin),
            "legacy": bool(param.legacy_version),
        }
