"""What loss layers have in common: loss weights, labels that are ignored, what the sum is divided by."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ..facts import Bottom, Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition

LABELS = Bottom("labels", exact=True, plain=True, gradient=False)


class Loss(LayerType):
    """A layer whose top is a number to make small; its sum is divided by the number of items."""

    tops: ClassVar[tuple[Top, ...]] = (Top("loss", exact=True),)
    loss = True
    backward_reads = Reads(bottoms=True)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`: what `math/loss_normalizer.hpp` reads."""
        return {"normalization": "batch_size", "normalizer": 1.0, "ignores": False, "ignore_label": 0}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: difference, product, sum."""
        return 3 * prod(node.bottoms[0].shape)


class NormalizedLoss(Loss):
    """A loss that reads `loss_param`.

    Attributes
    ----------
    normalization : {"VALID", "BATCH_SIZE", "FULL", "NONE"}
        What it divides by if the file does not say.
    """

    normalization: ClassVar[str] = "VALID"
    fields: ClassVar[tuple[str, ...]] = (
        "loss_param.ignore_label",
        "loss_param.normalization",
        "loss_param.normalize",
        "loss_param.pre_fixed_normalizer",
    )

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        normalizer = layer.message.loss_param.pre_fixed_normalizer
        if not normalizer > 0:
            problem = f"pre_fixed_normalizer must be a number > 0, got {normalizer:g}"
            raise layer.error(problem, "loss_param", "pre_fixed_normalizer")

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.loss_param
        return {
            "normalization": cls._normalization(param).lower(),
            "normalizer": float(param.pre_fixed_normalizer),
            "ignores": param.HasField("ignore_label"),
            "ignore_label": int(param.ignore_label),
        }

    @classmethod
    def _normalization(cls, param: Any) -> str:
        if param.HasField("normalization"):
            return str(param.NormalizationMode.Name(param.normalization))
        if param.HasField("normalize"):
            return "VALID" if param.normalize else "BATCH_SIZE"
        return cls.normalization


class PairLoss(Loss):
    """A loss that compares its two bottoms element by element; see `math/pair_loss.hpp`."""

    @classmethod
    def layout_of(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> str:
        """See `LayerType.layout_of`: bottoms of unequal shape correspond in logical order only."""
        return cls.layout if list(bottoms[0]) == list(bottoms[1]) else "plain"
