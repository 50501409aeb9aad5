"""Filter: the items of blobs that a selector picks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..facts import Bottom, Reads, Top
from ..layer_type import LayerType
from ..prototxt.definition import LayerDefinition

if TYPE_CHECKING:
    from ..graph.nodes import Node


class Filter(LayerType):
    """Keep the items that are selected, in their order: ``y = x[selector != 0]``.

    Returns
    -------
    y : (K, ...), one for each bottom but the last
        For K selected items; as many tops as bottoms without the selector, which is the last bottom.

    Raises
    ------
    ConfigError
        If the tops are not one fewer than the bottoms, or a gradient of the selector is asked for.
    ShapeError
        If the selector has not one value for each item, or a bottom has not as many items.

    Notes
    -----
    The selector has shape (N), or (N, 1, ...); any value but 0 selects, NaN too, and it stays exact in a
    bfloat16 plan. Shapes of the tops are known only when the layer runs: before, a net shows those of all
    items. Nothing may be selected: then the tops have no items, and what reads them does nothing. Gradients
    of items that are not selected are 0. As in Caffe, a loss that reads filtered labels beside filtered
    scores must say that it gives the labels no gradient: `propagate_down: true propagate_down: false`. In a
    net on the GPU it runs on the CPU, between copies; the layers before and behind it are recorded.
    Deterministic.

    References
    ----------
    Behaviour as in Caffe's layer catalogue, Filter.

    Examples
    --------
    ::

        layer {
          name: "hard" type: "Filter" bottom: "scores" bottom: "label" bottom: "is_hard"
          top: "hard_scores" top: "hard_label"
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Filter"', [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [1.0, 0.0, 1.0])
    [[1.0, 2.0], [5.0, 6.0]]
    """

    type = "Filter"
    bottoms = (Bottom("items", most=None), Bottom("selector", exact=True, plain=True, gradient=False))
    tops = (Top(most=None),)
    backward_reads = Reads(bottoms=("selector",))

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        bottoms, tops = len(layer.bottoms), len(layer.tops)
        if tops != bottoms - 1:
            problem = f"Filter takes one top for each bottom but the last, got {tops} for {bottoms} bottoms"
            raise layer.error(problem, "top", hint="the last bottom is the selector")

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
