"""InnerProduct: a fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..facts import Learned, Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, masks_by_top, top_count
from ..prototxt.definition import LayerDefinition
from ..rules import Rule

_ROWS_WORTH_BFLOAT16 = 96  # measured on two cores with AVX-512 BF16


class InnerProduct(LayerType):
    """Fully connected layer: ``Y = X W^T + b``.

    Parameters
    ----------
    num_output : int >= 1
        N, the number of outputs.
    bias_term : bool, default true
        Whether there is a bias b.
    relu : bool, default false
        A ReLU of slope `negative_slope`, default 0, in place after this layer. An extension (Intel's).
    axis : int, default 1
        First axis of the input that counts as features; the axes before it are items. May be negative.
    transpose : bool, default false
        Store W as (K, N) instead of (N, K).
    weight_filler, bias_filler : FillerParameter, default constant 0
        Initial values. A weight filler is nearly always wanted.

    Returns
    -------
    Y
        The bottom's axes before `axis`, then N.

    Raises
    ------
    ConfigError
        If num_output is missing or below 1.
    ShapeError
        If the input size K changes after the weights were made.

    Notes
    -----
    Learned blobs: W of shape (N, K) or (K, N), b of shape (N). Computes on plain blobs. Both gradients
    accumulate. Unlike Caffe, num_output 0 is refused. In bfloat16 nets that learn, fewer than 96 rows are
    computed in float32: the weights are float32, and converting them at every step would take longer.

    References
    ----------
    Formula and parameters as in Caffe's layer catalogue, InnerProduct.

    Examples
    --------
    ::

        layer {
          name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
          inner_product_param { num_output: 500 weight_filler { type: "xavier" } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> ones = 'weight_filler { value: 1 } bias_filler { value: 0.5 }'
    >>> run_layer(f'type: "InnerProduct" inner_product_param {{ num_output: 2 {ones} }}', [[1.0, 2.0]])
    [[3.5, 3.5]]
    """

    type = "InnerProduct"
    param = "inner_product_param"
    fields = ("num_output", "bias_term", "axis", "transpose", "weight_filler", "bias_filler")
    ignored = {"engine": "chooses among implementations, of which there is one"}
    layout = "plain"
    precision = "matrix"
    constraints = {"num_output": Rule(1, required=True)}

    @classmethod
    def precision_of(cls, layer: LayerDefinition, bottom: Shape, *, learns: bool) -> str:
        """See `LayerType.precision_of`: few rows take less time than turning the weights to bfloat16."""
        rows = prod(bottom[: layer.message.inner_product_param.axis])
        return "float32" if learns and rows < _ROWS_WORTH_BFLOAT16 else cls.precision

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        return Reads(bottoms=any(node.param_propagate_down), tops=masks_by_top(node))

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.inner_product_param
        return {
            "num_output": param.num_output,
            "bias_term": param.bias_term,
            "transpose": param.transpose,
            "axis": param.axis,
            "relu": False,
            "tf32": False,
        }

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        param = layer.message.inner_product_param
        return [Learned(param.weight_filler), Learned(param.bias_filler)][: 1 + param.bias_term]

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`."""
        return (argument == "relu" and not node.arguments["relu"]) or (
            argument == "tf32" and node.device == "cuda"
        )

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: each output is a sum of as many products as one channel has weights."""
        weights: int = node.params[0].blob.count // node.tops[0].shape[-1]
        return top_count(node) * (2 * weights + (len(node.params) > 1))
