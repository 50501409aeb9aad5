"""Concat: joins blobs along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition


class Concat(LayerType):
    """Join blobs along one axis, in the order of the bottoms.

    Parameters
    ----------
    axis : int, default 1
        Axis to join along; negative values count from the last axis.
    concat_dim : int, default 1
        Older name of `axis`, without negative values.

    Returns
    -------
    y
        The bottoms' shape, with the sum of their dims along the axis.

    Raises
    ------
    ConfigError
        If both axis and concat_dim are given.
    ShapeError
        If there is no such axis, or the bottoms differ along another one.

    Notes
    -----
    Backward cuts dy up the same way. With one bottom the top shares its data and diff. Not for in-place use.

    References
    ----------
    C. Szegedy et al., Going deeper with convolutions, CVPR 2015.

    Examples
    --------
    ::

        layer { name: "inception" type: "Concat" bottom: "1x1" bottom: "3x3" bottom: "5x5" top: "inception" }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Concat"', [[1.0], [2.0]], [[3.0, 4.0], [5.0, 6.0]])
    [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    """

    type = "Concat"
    param = "concat_param"
    fields = ("axis", "concat_dim")
    ignored = {
        "engine": "chooses among implementations, of which there is one",
        "per_fla_fuse": "tunes speed only",
    }
    bottoms = (Bottom(most=None),)
    backward_reads = Reads()
    writes_gradients = False

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.concat_param
        return {"axis": int(param.concat_dim if param.HasField("concat_dim") else param.axis)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.concat_param
        if param.HasField("axis") and param.HasField("concat_dim"):
            problem = f"give axis or concat_dim, got both ({param.axis} and {param.concat_dim})"
            raise layer.error(
                problem, "concat_param", "concat_dim", hint="concat_dim is the older name of axis"
            )

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0
