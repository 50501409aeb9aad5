"""BatchReindex: picks items of a batch by their index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..facts import Bottom, Reads
from ..layer_type import LayerType

if TYPE_CHECKING:
    from ..graph.nodes import Node


class BatchReindex(LayerType):
    """Pick items of a batch, in any order and any number of times: ``y[i] = x[indices[i]]``.

    Returns
    -------
    y : (M, ...)
        For x (N, ...) and M indices.

    Raises
    ------
    ShapeError
        If the indices have not exactly one axis.
    DataError
        At forward, for an index that is none of 0 .. N - 1.
    ConfigError
        If a gradient of the indices is asked for.

    Notes
    -----
    Indices stay exact in a bfloat16 plan; fractions are cut off. M may be 0. The gradient of an item is the
    sum over its copies, 0 without any; deterministic on both devices, added in float in the order of the
    indices.

    References
    ----------
    Behaviour as in Caffe's layer catalogue, BatchReindex.

    Examples
    --------
    ::

        layer { name: "pick" type: "BatchReindex" bottom: "features" bottom: "indices" top: "picked" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "BatchReindex"', [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0, 0.0])
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """

    type = "BatchReindex"
    bottoms = (Bottom("items"), Bottom("indices", exact=True, plain=True, gradient=False))
    backward_reads = Reads(bottoms=("indices",))

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
