"""What recurrent layer types have in common: bottoms, tops and parameters; `LSTM` and `RNN` say the rest."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ..facts import Bottom, Learned, Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Recurrent(LayerType):
    """A layer over sequences that carries its hidden blobs on from step to step, and from batch to batch.

    Attributes
    ----------
    hidden : tuple of str
        Names of the hidden blobs, which are bottoms and tops with `expose_hidden`.
    """

    hidden: ClassVar[tuple[str, ...]]
    param = "recurrent_param"
    fields = ("num_output", "weight_filler", "bias_filler", "expose_hidden")
    ignored = {"debug_info": "there is no inner net to tell of"}
    bottoms = (
        Bottom("x"),
        Bottom("cont", exact=True, plain=True, gradient=False),
        Bottom("x_static and hidden", exact=True, plain=True, least=0, most=3),
    )
    tops = (Top(), Top("hidden", exact=True, least=0, most=2))
    layout = "plain"
    constraints = {"num_output": Rule(1, required=True)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`; how many blobs there are follows from `expose_hidden`."""
        super().check(layer)
        exposed = layer.message.recurrent_param.expose_hidden
        hidden = len(cls.hidden) if exposed else 0
        words = f"with expose_hidden {str(exposed).lower()} {cls.type} takes"
        bottoms = (2 + hidden, 3 + hidden)
        if len(layer.bottoms) not in bottoms:
            problem = f"{words} {bottoms[0]} or {bottoms[1]} bottoms, got {len(layer.bottoms)}"
            raise layer.error(problem, "bottom", hint=cls._order())
        if len(layer.tops) != 1 + hidden:
            problem = f"{words} {1 + hidden} top(s), got {len(layer.tops)}"
            raise layer.error(problem, "top", hint=cls._order())
        if any(layer.message.propagate_down[1:2]):
            raise layer.error("cont has no gradient", "propagate_down", 1, hint="set it to false")

    @classmethod
    def _order(cls) -> str:
        before = "".join(f"[, {name}_0]" for name in cls.hidden)
        after = "".join(f"[, {name}_T]" for name in cls.hidden)
        return f"bottoms: x, cont[, x_static]{before}; tops: {cls.tops[0].name}{after}"

    @classmethod
    def has_static(cls, layer: LayerDefinition) -> bool:
        """Whether there is an x_static."""
        hidden = len(cls.hidden) if layer.message.recurrent_param.expose_hidden else 0
        return len(layer.bottoms) > 2 + hidden

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        return Reads(bottoms=any(node.param_propagate_down) or ("cont",), tops=cls.backward_reads.tops)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.recurrent_param
        return {"num_output": param.num_output, "expose_hidden": param.expose_hidden, "tf32": False}

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`; what has its own weights besides adds them."""
        param = layer.message.recurrent_param
        weights = Learned(param.weight_filler)
        return [weights, Learned(param.bias_filler), *[weights] * (1 + cls.has_static(layer))]

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`."""
        return argument == "tf32" and node.device == "cuda"

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: every weight is used once for each step and item."""
        weights: int = sum(param.blob.count for param in node.params)
        return 2 * weights * prod(node.bottoms[0].shape[:2])
