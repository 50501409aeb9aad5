"""LRN: local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, top_count
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class LRN(LayerType):
    """Divide every value by a power of the energy around it: ``y = x * s^(-beta)``.

    ``s = k + alpha / m * sum(x^2)`` over a window around the element: ``local_size`` channels at the same
    place, with ``m = local_size`` (ACROSS_CHANNELS), or ``local_size`` x ``local_size`` places of the same
    channel, with ``m = local_size^2`` and k = 1 (WITHIN_CHANNEL).

    Parameters
    ----------
    local_size : int, default 5
        Size of the window, odd.
    alpha, beta, k : float, default 1, 0.75, 1
        Coefficients above. WITHIN_CHANNEL ignores `k`, as in Caffe.
    norm_region : {"ACROSS_CHANNELS", "WITHIN_CHANNEL"}, default ACROSS_CHANNELS
        Direction of the window.

    Returns
    -------
    y : (N, C, H, W)
        Same shape as the bottom.

    Raises
    ------
    ConfigError
        If `local_size` is even, or the layer works in place.
    ShapeError
        If the bottom has not 4 axes.

    Notes
    -----
    Computed channels-last. Windows are cut at the borders, their divisor m is not. In-place use is rejected:
    in Caffe it gives wrong values. Deterministic; nothing is kept for the gradient. `engine` is accepted and
    ignored: cuDNN's WITHIN_CHANNEL, which does read `k`, is not reproduced.

    References
    ----------
    A. Krizhevsky, I. Sutskever and G. Hinton, ImageNet classification with deep convolutional neural
    networks, NIPS 2012, section 3.3.

    Examples
    --------
    ::

        layer {
          name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
          lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> [[[[a]], [[b]]]] = run_layer('type: "LRN" lrn_param { local_size: 3 beta: 1 }', [[[[1.0]], [[2.0]]]])
    >>> round(a, 5), round(b, 5)
    (0.375, 0.75)
    """

    type = "LRN"
    param = "lrn_param"
    fields = ("local_size", "alpha", "beta", "k", "norm_region")
    ignored = {"engine": "chooses among implementations, of which there is one"}
    layout = "channels_last"
    backward_reads = Reads(bottoms=True)
    constraints = {"local_size": Rule(low=1, high=2**15)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        size = layer.message.lrn_param.local_size
        if size % 2 == 0:
            raise layer.error(f"local_size must be odd, got {size}", "lrn_param", "local_size")

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.lrn_param
        return {
            "within_channel": param.norm_region == param.WITHIN_CHANNEL,
            "local_size": int(param.local_size),
            "alpha": float(param.alpha),
            "beta": float(param.beta),
            "k": float(param.k),
        }

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: square each value, sum over the window, take a power and multiply."""
        param = node.definition.message.lrn_param
        window: int = param.local_size if param.norm_region == 0 else param.local_size**2
        return top_count(node) * (window + 3)
