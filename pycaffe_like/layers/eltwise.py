"""Eltwise: sum, product or maximum of several blobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, masks_by_top, top_count
from ..prototxt.definition import LayerDefinition

log = logging.getLogger("caffe")


class Eltwise(LayerType):
    """Combine blobs of one shape element by element.

    ``SUM``: ``y = sum_i coeff_i * x_i``; ``PROD``: ``y = prod_i x_i``; ``MAX``: ``y = max_i x_i``.

    Parameters
    ----------
    operation : {SUM, PROD, MAX}, default SUM
        How to combine.
    coeff : float, repeated
        Factors of a SUM, one for each bottom; all 1 when not given. MAX ignores them with a warning.
    stable_prod_grad : bool, default true
        Gradient of PROD as dy times the product of the other bottoms. When false it is ``dy * y / x_i``,
        which is cheaper for many bottoms and NaN where x_i is 0.

    Returns
    -------
    y
        Shape, layout and type of the bottoms.

    Raises
    ------
    ConfigError
        If coeff is given with PROD, or not once for each bottom.
    ShapeError
        If the bottoms' shapes differ.

    Notes
    -----
    Not for in-place use. MAX gives the gradient to one bottom: bottom 0 beats bottom 1 only when it is
    greater, every later bottom must be greater than the best so far. Caffe's GPU code breaks ties another
    way.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016 (SUM).

    Examples
    --------
    ::

        layer { name: "res2a" type: "Eltwise" bottom: "branch1" bottom: "branch2" top: "res2a" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Eltwise" eltwise_param { coeff: 1 coeff: -2 }', [5.0, 6.0], [1.0, 2.0])
    [3.0, 2.0]
    """

    type = "Eltwise"
    param = "eltwise_param"
    fields = ("operation", "coeff", "stable_prod_grad")
    ignored = {"engine": "chooses among implementations, of which there is one"}
    bottoms = (Bottom(least=2, most=None),)

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        param = node.definition.message.eltwise_param
        if param.operation == param.SUM:
            return Reads(tops=masks_by_top(node))
        return Reads(bottoms=True, tops=param.operation == param.PROD and not param.stable_prod_grad)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.eltwise_param
        return {
            "operation": param.EltwiseOp.Name(param.operation),
            "coeff": [float(value) for value in param.coeff] or [1.0] * len(bottoms),
            "stable_prod_grad": bool(param.stable_prod_grad),
            "relu": False,
            "relu_backward": True,
        }

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.eltwise_param
        if not param.coeff:
            return
        operation = param.EltwiseOp.Name(param.operation)
        if operation == "PROD":
            hint = "remove coeff, or use operation: SUM"
            raise layer.error(
                "coeff cannot be used with operation PROD", "eltwise_param", "coeff", 0, hint=hint
            )
        if len(param.coeff) != len(layer.bottoms):
            problem = (
                f"coeff must be given once for each of {len(layer.bottoms)} bottoms, got {len(param.coeff)}"
            )
            raise layer.error(problem, "eltwise_param", "coeff", len(param.coeff) - 1)
        if operation == "MAX":
            log.warning("%s: coeff has no effect with operation MAX", layer.name)

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`."""
        if argument == "relu":
            return node.arguments["operation"] == "SUM" and not node.arguments["relu"]
        return argument == "relu_backward" and bool(node.arguments["relu"])

    @classmethod
    def work(cls, node: Node) -> dict[str, Any]:
        """See `LayerType.work`: a plain sum of two is an addend to whoever makes one of them."""
        plain = node.arguments["operation"] == "SUM" and node.arguments["coeff"] == [1.0, 1.0]
        if not plain:
            return {}
        return {"addend": True, "relu": True} if node.arguments["relu"] else {"addend": True}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`."""
        return top_count(node) * (len(node.bottoms) - 1)
