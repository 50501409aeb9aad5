"""InfogainLoss: multinomial logistic loss whose classes are weighed by a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..facts import Bottom, Top
from ..graph.nodes import Node
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from ..weights.binaryproto import read_blobproto
from .loss import LABELS, NormalizedLoss


class InfogainLoss(NormalizedLoss):
    """Classification loss: ``sum of -H[label, c] log softmax(x)[c] / Z`` over labels and classes c.

    Bottoms are scores, labels and, if no file holds it, the infogain matrix H. With the unit matrix it is
    SoftmaxWithLoss.

    Parameters
    ----------
    source : str, optional
        A `.binaryproto` file with H; needed unless there is a third bottom.
    axis : int, default 1
        Axis of the classes in the scores; negative values count from the end.
    loss_param.ignore_label : int, optional
        Rows with this label count for nothing.
    loss_param.normalization : {"VALID", "FULL", "BATCH_SIZE", "NONE", "PRE_FIXED"}, default VALID
        Z: number of labels not ignored, of all labels, of items before the axis, 1, or
        `pre_fixed_normalizer`. At least 1.
    loss_param.pre_fixed_normalizer : float > 0, default 1
        Z of the mode PRE_FIXED.

    Returns
    -------
    loss : scalar
        Has loss weight 1 unless given otherwise.
    probabilities : shape of the scores, optional
        The softmax; has loss weight 0, and a gradient of it is not used.

    Raises
    ------
    ShapeError
        If the labels are not as many as the scores have rows, the first axes differ, or H has not C x C
        values for C classes.
    DataError
        If the file cannot be read; at forward, for a label that is neither a class nor the ignored one.
    ConfigError
        If there is no H or there are two, `loss_param.normalize` is set, or a gradient of labels or H is
        asked for.

    Notes
    -----
    ``dx = (p * sum(H[label]) - H[label]) / Z`` with the softmax p. H may have any shape of C x C values, in
    the order label, class. -log p counts as at most -log(1e-20), about 46.1, as in Caffe; the gradient is not
    cut. Caffe takes the third bottom and ignores a `source`. Two tops without loss weights are accepted
    (Caffe rejects them). Scores may be bfloat16, H and the tops are float32. Deterministic with any number of
    threads.

    References
    ----------
    The layer of the same name in BVLC Caffe. Versions before 2017 took probabilities; scores of such nets
    must come from before their Softmax layer.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "InfogainLoss" bottom: "fc8" bottom: "label" top: "loss"
          infogain_loss_param { source: "infogain.binaryproto" }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> twice = [[2.0, 0.0], [0.0, 2.0]]
    >>> round(run_layer('type: "InfogainLoss"', [[1.0, 1.0]], [1.0], twice), 4)  # 2 ln(2)
    1.3863
    """

    type = "InfogainLoss"
    param = "infogain_loss_param"
    fields = (
        "source",
        "axis",
        "loss_param.ignore_label",
        "loss_param.normalization",
        "loss_param.pre_fixed_normalizer",
    )
    bottoms = (
        Bottom("scores"),
        LABELS,
        Bottom("infogain", exact=True, plain=True, gradient=False, least=0),
    )
    tops = (*NormalizedLoss.tops, Top("probabilities", exact=True, least=0))

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        given = bool(layer.message.infogain_loss_param.source)
        if given == (len(layer.bottoms) > 2):
            problem = f"the infogain matrix is given {'twice' if given else 'nowhere'}"
            hint = "set infogain_loss_param.source, or add a third bottom, not both"
            raise layer.error(problem, cls.param, "source", hint=hint)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.infogain_loss_param
        return {
            **super().arguments(layer, bottoms),
            "axis": int(param.axis),
            "probabilities": len(layer.tops) > 1,
            "infogain": read_blobproto(param.source).data.ravel().tolist() if param.source else [],
        }

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: those of a softmax, and a product and a sum."""
        return 7 * prod(node.bottoms[0].shape)
