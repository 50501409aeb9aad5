"""ROIPooling: the maximum of each cell of a grid laid over boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Reads
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class ROIPooling(LayerType):
    """Pool boxes of any size on feature maps to a grid: ``y[r, c, i, j] = max of x over cell (i, j)``.

    Parameters
    ----------
    pooled_h, pooled_w : int >= 1, cells
        Height and width of the grid. Required.
    spatial_scale : float, default 1
        Places of the map a unit of the boxes' coordinates: 1/16 behind layers whose strides multiply to 16.
    pad_ratio : float, default 0
        MS-CNN's: on every side the box is widened by this part of its own size, beyond the map too.

    Returns
    -------
    y : (R, C, pooled_h, pooled_w)
        For maps (N, C, H, W), and boxes (R, 5) or (R, 5, 1, 1) of index of the map, x1, y1, x2, y2.

    Raises
    ------
    ConfigError
        If pooled_h or pooled_w is missing or below 1, or a gradient of the boxes is asked for.
    ShapeError
        If the maps have not 4 axes, or a box not 5 values.
    DataError
        At forward, for a box on a map that does not exist.

    Notes
    -----
    Corners are scaled and rounded, halves away from zero; both belong to the box, which is at least one place
    wide. A cell takes every place that it touches, so neighbours may share one. Of equal maxima the first in
    row-major order wins. An empty cell, outside of the map for instance, gives 0, and so does a box with a
    coordinate that is NaN; a cell without a value above -FLT_MAX gives that; neither passes a gradient. Boxes
    stay exact in a bfloat16 plan. Deterministic on both devices: where boxes overlap, gradients are added in
    their order. In training 2 bytes an output are kept, 4 for maps of more than 65,535 places. `pooled_size`,
    a field of Intel's, is accepted and ignored, as it is there.

    References
    ----------
    R. Girshick, Fast R-CNN, ICCV 2015. Z. Cai et al., A unified multi-scale deep convolutional neural network
    for fast object detection, ECCV 2016 (`pad_ratio`).

    Examples
    --------
    ::

        layer {
          name: "roi_pool5" type: "ROIPooling" bottom: "conv5_3" bottom: "rois" top: "pool5"
          roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.0625 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> maps, boxes = [[[[1.0, 5.0, 2.0], [3.0, 4.0, 6.0]]]], [[0.0, 0.0, 0.0, 1.0, 1.0]]
    >>> run_layer('type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 1 }', maps, boxes)
    [[[[5.0], [4.0]]]]
    """

    type = "ROIPooling"
    param = "roi_pooling_param"
    fields = ("pooled_h", "pooled_w", "spatial_scale", "pad_ratio")
    ignored = {"pooled_size": "Intel's layer does not read it either"}
    bottoms = (Bottom("maps"), Bottom("boxes", exact=True, plain=True, gradient=False))
    backward_reads = Reads(bottoms=("boxes",))
    constraints = {
        "pooled_h": Rule(low=1, required=True),
        "pooled_w": Rule(low=1, required=True),
        "spatial_scale": Rule(),
        "pad_ratio": Rule(low=0),
    }

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.roi_pooling_param
        return {
            "pooled": [param.pooled_h, param.pooled_w],
            "spatial_scale": param.spatial_scale,
            "pad_ratio": param.pad_ratio,
        }
