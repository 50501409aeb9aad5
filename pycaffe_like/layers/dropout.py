"""Dropout: drops random elements while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, top_count
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Dropout(LayerType):
    """Drop each element with probability r while training: ``y = x * m / (1 - r)``; in TEST phase ``y = x``.

    Parameters
    ----------
    dropout_ratio : float in [0, 1), default 0.5
        Probability r that an element is dropped (its m is 0, else 1).
    scale_train : bool, default true
        Divide by 1 - r in training; when false, ``y = x * m`` there and ``y = x * (1 - r)`` in TEST phase.
        An extension (Faster R-CNN's).

    Returns
    -------
    y
        Same shape, layout and type as the bottom.

    Raises
    ------
    ConfigError
        If dropout_ratio is outside [0, 1).

    Notes
    -----
    In-place use is allowed. The mask takes no memory: it is a function of the net's seed, the layer's name,
    the iteration and the element's place in memory, so that a resumed run, and a run on another number of
    threads, draws the same one. With `scale_train`, ``E[y] = x``, so nothing is rescaled in TEST phase.

    References
    ----------
    N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.

    Examples
    --------
    ::

        layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" dropout_param { dropout_ratio: 0.5 } }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Dropout"', [1.0, 2.0])
    [1.0, 2.0]
    >>> values = run_layer('type: "Dropout"', [1.0] * 1000, phase=0)
    >>> sorted(set(values))
    [0.0, 2.0]
    """

    type = "Dropout"
    param = "dropout_param"
    fields = ("dropout_ratio", "scale_train")
    ignored = {
        "engine": "chooses among implementations, of which there is one",
        "random_seed": "the draws are a function of the net's seed",
    }
    in_place = True
    backward_reads = Reads()
    constraints = {"dropout_ratio": Rule(low=0, high=1, high_open=True)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.dropout_param
        return {
            "dropout_ratio": float(param.dropout_ratio),
            "scale_train": bool(param.scale_train),
            "training": layer.training,
        }

    @classmethod
    def passes_on(cls, layer: LayerDefinition) -> bool:
        """See `LayerType.passes_on`."""
        return not layer.training and bool(layer.message.dropout_param.scale_train)

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`."""
        return top_count(node) if node.definition.training else 0
