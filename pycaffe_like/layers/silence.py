"""Silence: reads blobs that nothing else reads."""

from __future__ import annotations

from ..facts import Bottom, Reads
from ..graph.nodes import Node
from ..layer_type import LayerType


class Silence(LayerType):
    """Read blobs and make nothing of them, so that they are no outputs of the net.

    Parameters
    ----------
    None.

    Returns
    -------
    None.

    Raises
    ------
    ConfigError
        If there is no bottom, or any top.

    Notes
    -----
    Backward sets the diffs of the bottoms to zero.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer { name: "unused" type: "Silence" bottom: "label2" }

    >>> from pycaffe_like.testing import layer_net
    >>> net = layer_net('type: "Silence"', [1.0, 2.0], tops=0, backward=False)
    >>> net.outputs
    []
    """

    type = "Silence"
    bottoms = (Bottom(most=None),)
    tops = ()
    backward_reads = Reads()

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
