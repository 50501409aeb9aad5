"""Convolution over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Learned, Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, masks_by_top, top_count
from ..prototxt.definition import LayerDefinition
from ..rules import Rule

_MAX_EXTENT = 2**15  # of kernel, stride, pad and dilation: keeps every index of the kernels below 2^31


class Convolution(LayerType):
    """Convolution (cross-correlation) with learned weights.

    ``y[n, o, p] = b[o] + sum_{c, q} W[o, c, q] x[n, c, p * stride - pad + q * dilation]``, zero outside the
    input, c over the channels of o's group.

    Parameters
    ----------
    num_output : int >= 1
        O, the number of output channels.
    kernel_size : int or one for each spatial axis, >= 1
        Or kernel_h and kernel_w.
    stride, dilation : likewise, default 1
        Or stride_h and stride_w, dilation_h and dilation_w.
    pad : likewise, default 0
        Or pad_h and pad_w.
    group : int, default 1
        Channels are convolved in this many groups; it must divide input and output channels.
    bias_term : bool, default true
        Whether there is a bias b.
    relu : bool, default false
        A ReLU of slope `negative_slope`, default 0, in place after this layer. An extension (Intel's).
    axis : int, default 1
        The channel axis; spatial axes follow, items precede. May be negative.
    weight_filler, bias_filler : FillerParameter, default constant 0
        Initial values. A weight filler is nearly always wanted.

    Returns
    -------
    y
        One for each bottom, of shape (N, O, out...), ``out = (in + 2 pad - dilation (kernel - 1) - 1) /
        stride + 1`` rounded down.

    Raises
    ------
    ConfigError
        If a size is missing, given in two forms, or out of range, or a group does not divide.
    ShapeError
        If the kernel is larger than the padded input.

    Notes
    -----
    Learned blobs: W of shape (O, C / group, kernel...), b of shape (O). Up to 3 spatial axes. 4-D and 5-D
    blobs are computed channels-last. Gradients accumulate; the same bits come out at the same thread count.
    `engine` and `force_nd_im2col` are accepted and change nothing. Unlike Caffe, a kernel larger than its
    padded input is refused, and so is stride_h without stride_w. Kernels of 3 x 3 and 5 x 5 with stride 1
    are computed by Winograd's algorithm where that is faster, at about twice the rounding error of a direct
    sum; an infinite or NaN input then spreads to all outputs of its 6 x 6 window.

    References
    ----------
    Y. LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998.
    A. Lavin, S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016.

    Examples
    --------
    ::

        layer {
          name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
          convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> ones = 'weight_filler { value: 1 }'
    >>> run_layer(f'type: "Convolution" convolution_param {{ num_output: 1 kernel_size: 2 {ones} }}',
    ...           [[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    [[[[12.0, 16.0]]]]
    """

    type = "Convolution"
    param = "convolution_param"
    fields = (
        "num_output",
        "kernel_size",
        "kernel_h",
        "kernel_w",
        "stride",
        "stride_h",
        "stride_w",
        "pad",
        "pad_h",
        "pad_w",
        "dilation",
        "dilation_h",
        "dilation_w",
        "group",
        "bias_term",
        "axis",
        "weight_filler",
        "bias_filler",
    )
    ignored = {
        "engine": "chooses among implementations, of which there is one",
        "force_nd_im2col": "tunes speed only",
        "cudnn_convolution_algo_seeker": "tunes speed only",
        "conv_algos_override": "tunes speed only",
        "conv_algorithm": "tunes speed only",
    }
    bottoms = (Bottom(most=None),)
    tops = (Top(most=None),)
    same_count = True
    layout = "channels_last"
    takes_plain = True
    precision = "matrix"
    constraints = {
        "num_output": Rule(1, required=True),
        "kernel_size": Rule(1, _MAX_EXTENT),
        "kernel_h": Rule(1, _MAX_EXTENT),
        "kernel_w": Rule(1, _MAX_EXTENT),
        "stride": Rule(1, _MAX_EXTENT),
        "stride_h": Rule(1, _MAX_EXTENT),
        "stride_w": Rule(1, _MAX_EXTENT),
        "pad": Rule(0, _MAX_EXTENT),
        "pad_h": Rule(0, _MAX_EXTENT),
        "pad_w": Rule(0, _MAX_EXTENT),
        "dilation": Rule(1, _MAX_EXTENT),
        "dilation_h": Rule(1, _MAX_EXTENT),
        "dilation_w": Rule(1, _MAX_EXTENT),
        "group": Rule(1),
    }

    @classmethod
    def layout_of(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> str:
        """See `LayerType.layout_of`: channels-last means axis 1."""
        return "channels_last" if layer.message.convolution_param.axis == 1 else "plain"

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        return Reads(bottoms=any(node.param_propagate_down), tops=masks_by_top(node))

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.convolution_param
        if param.num_output % param.group:
            raise layer.error(
                f"group {param.group} does not divide num_output {param.num_output}", cls.param, "group"
            )
        return {
            "num_output": param.num_output,
            "group": param.group,
            "bias_term": param.bias_term,
            "axis": param.axis,
            "relu": False,
            "relu_backward": True,
            "winograd": True,
            "tf32": False,
            "addend": False,
            "accumulates": False,
            "batch_norm": False,
            "scale_bias": False,
            "eps": 0.0,
            **window_arguments(layer, bottoms[0]),
        }

    @classmethod
    def device_of(cls, layer: LayerDefinition, bottoms: Sequence[Shape], wanted: str) -> str:
        """See `LayerType.device_of`: the GPU's kernels are for maps of two or three spatial axes."""
        maps = len(bottoms[0]) in (4, 5) and cls.layout_of(layer, bottoms) == "channels_last"
        return super().device_of(layer, bottoms, wanted) if maps else "cpu"

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        param = layer.message.convolution_param
        weights = Learned(param.weight_filler, layout="channels_last")
        return [weights, Learned(param.bias_filler)][: 1 + param.bias_term]

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`."""
        now, is_map = node.arguments, node.definition.message.convolution_param.axis == 1
        if argument in ("batch_norm", "eps"):  # they would spoil the gradient of the weights
            return is_map and not node.need_backward and not now["batch_norm"] and not now["relu"]
        if argument == "scale_bias":
            return bool(now["batch_norm"] and not now["scale_bias"] and not now["relu"])
        if argument == "addend":
            return len(node.bottoms) == 1 and not node.need_backward and not now["relu"]
        if argument == "accumulates":
            return node.device == "cuda" and len(node.bottoms) == 1
        if argument == "relu_backward":
            return bool(now["relu"])
        if argument == "tf32":
            return node.device == "cuda"
        return argument == "winograd" or (argument == "relu" and not now["relu"])

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: each output is a sum of as many products as one channel has weights."""
        weights: int = node.params[0].blob.count // node.tops[0].shape[1]
        return top_count(node) * (2 * weights + (len(node.params) > 1))


def window_arguments(layer: LayerDefinition, bottom: Shape) -> dict[str, list[int]]:
    """Kernel, stride, pad and dilation for each spatial axis, from whichever form the prototxt uses."""
    axis = layer.message.convolution_param.axis
    if not -len(bottom) <= axis < len(bottom):
        raise layer.error(
            f"axis {axis} is out of range for bottom shape {tuple(bottom)}", "convolution_param", "axis"
        )
    spatial = len(bottom) - axis % len(bottom) - 1
    if spatial > 3:
        raise layer.error(
            f"at most 3 spatial axes are supported, bottom shape {tuple(bottom)} has {spatial}", "bottom"
        )
    return {
        "kernel": _sizes(layer, "kernel_size", "kernel", spatial, None),
        "stride": _sizes(layer, "stride", "stride", spatial, 1),
        "pad": _sizes(layer, "pad", "pad", spatial, 0),
        "dilation": _sizes(layer, "dilation", "dilation", spatial, 1),
    }


def _sizes(layer: LayerDefinition, field: str, pair: str, spatial: int, default: int | None) -> list[int]:
    """One quantity for each spatial axis: the repeated field, or its _h and _w pair."""
    param = layer.message.convolution_param
    values = list(getattr(param, field))
    given = [name for name in (f"{pair}_h", f"{pair}_w") if param.HasField(name)]
    if given:
        return _from_pair(layer, values, field, pair, given, spatial)
    if not values:
        if default is None and spatial > 0:
            raise layer.error(
                f"{field} is missing", "convolution_param", hint=f"set convolution_param.{field}"
            )
        return [1 if default is None else default] * spatial
    if len(values) == 1:
        return values * spatial
    if len(values) != spatial:
        raise layer.error(
            f"{field} needs 1 value or one for each of {spatial} spatial axes, got {len(values)}",
            "convolution_param", field,
        )  # fmt: skip
    return values


def _from_pair(
    layer: LayerDefinition, values: list[int], field: str, pair: str, given: list[str], spatial: int
) -> list[int]:
    param = layer.message.convolution_param
    where = ("convolution_param", given[0])
    if spatial != 2:
        raise layer.error(f"{given[0]} is for 2 spatial axes, the bottom has {spatial}", *where)
    if values:
        raise layer.error(f"give {field} or {pair}_h and {pair}_w, not both", *where)
    if len(given) == 1 and pair != "pad":
        missing = f"{pair}_w" if given[0].endswith("h") else f"{pair}_h"
        raise layer.error(
            f"{given[0]} is given without {missing}", *where, hint=f"set convolution_param.{missing} too"
        )
    return [getattr(param, f"{pair}_h"), getattr(param, f"{pair}_w")]
