"""Split: one blob for several readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition


class Split(LayerType):
    """Give one blob to several readers: ``y_k = x`` for every top k, gradient ``dx = sum_k dy_k``.

    Parameters
    ----------
    None.

    Returns
    -------
    tops
        Any number of blobs with the bottom's shape, layout and type. They share its data, without a copy;
        each has a diff of its own.

    Raises
    ------
    ConfigError
        If a top is the bottom itself (in-place use).

    Notes
    -----
    Nets rarely declare it: a blob with several readers gets one automatically, named
    ``<blob>_<layer>_<top index>_split``. The diffs are added in the order of the tops, in one pass, so the
    result does not depend on the number of threads.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "two" type: "Split" bottom: "x" top: "x1" top: "x2" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Split"', [1.0, 2.0], tops=2)
    [[1.0, 2.0], [1.0, 2.0]]
    """

    type = "Split"
    param = "split_param"
    ignored = {"engine": "chooses among implementations, of which there is one"}
    tops = (Top(most=None),)
    backward_reads = Reads()
    writes_gradients = False

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        return {"tops": len(layer.tops), "shared_diffs": []}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`."""
        return argument == "shared_diffs" and node.device == "cuda"
