"""Pooling: maximum, average or a random draw over windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..facts import Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, bottom_count
from ..prototxt.definition import LayerDefinition
from ..rules import Rule

_MAX, _AVE, _STOCHASTIC = 0, 1, 2


class Pooling(LayerType):
    """Pool every channel over windows of ``kernel`` places, ``stride`` apart.

    ``MAX``: the largest value. ``AVE``: the mean, zero padding included. ``STOCHASTIC``: in training a value
    drawn with a probability proportional to it, in testing ``sum(x^2) / sum(x)``.

    Parameters
    ----------
    pool : {"MAX", "AVE", "STOCHASTIC"}, default MAX
        What is made of a window. STOCHASTIC expects values >= 0.
    kernel_size : int, places
        Height and width of the window; or `kernel_h` and `kernel_w`. Required unless `global_pooling`.
    stride : int, places, default 1
        Distance of windows; or `stride_h` and `stride_w`.
    pad : int, places, default 0
        Border of zeros (MAX: of nothing) on every side, smaller than the kernel; or `pad_h` and `pad_w`. Not
        with STOCHASTIC.
    global_pooling : bool, default false
        One window over the whole map, whatever its size. Kernel, stride and pad must not be given.
    round_mode : {"CEIL", "FLOOR"}, default CEIL
        Whether a last window that reaches beyond the border is kept. Other Caffes say FLOOR by
        ``ceil_mode: false`` or ``torch_pooling: true``.
    avg_include_pad : bool, default true
        Whether padding counts in the mean of AVE. An extension (Intel's).

    Returns
    -------
    y : (N, C, H', W')
        ``H' = round_mode((H + 2 pad - kernel) / stride) + 1``; with padding, one less if the last window
        would begin in the padding beyond the image.
    places : (N, C, H', W'), optional second top of MAX
        ``h * W + w`` of the maximum within its map, -1 where there is none.

    Raises
    ------
    ConfigError
        For a kernel, stride or pad given twice or not at all, a pad not smaller than the kernel, a second top
        without MAX, and for the gradient of STOCHASTIC in phase TEST.
    ShapeError
        If the bottom has not 4 axes, or no window fits on it.

    Notes
    -----
    Computed channels-last. The first of equal maxima in row-major order wins; NaN is never a maximum. A MAX
    window without a value above -FLT_MAX gives -FLT_MAX and passes no gradient, an AVE window that lies
    outside the image gives 0 (Caffe writes beyond its memory, or divides by zero). AVE divides by the size
    of the window clipped to the padded image, or to the image without `avg_include_pad`. STOCHASTIC runs on
    the CPU too, and its draws depend on seed, layer, iteration and element alone. Deterministic. `engine` is
    accepted and ignored. In training, MAX and STOCHASTIC keep one byte an output, four if the window has
    more than 255 places.

    References
    ----------
    M. D. Zeiler and R. Fergus, Stochastic pooling for regularization of deep convolutional neural networks,
    ICLR 2013.

    Examples
    --------
    ::

        layer {
          name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
          pooling_param { pool: MAX kernel_size: 3 stride: 2 }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "Pooling" pooling_param { kernel_size: 2 }', [[[[1.0, 5.0, 2.0], [3.0, 4.0, 0.0]]]])
    [[[[5.0, 5.0]]]]
    """

    type = "Pooling"
    param = "pooling_param"
    fields = (
        "pool",
        "kernel_size",
        "kernel_h",
        "kernel_w",
        "stride",
        "stride_h",
        "stride_w",
        "pad",
        "pad_h",
        "pad_w",
        "global_pooling",
        "round_mode",
        "ceil_mode",
        "torch_pooling",
        "avg_include_pad",
    )
    ignored = {"engine": "chooses among implementations, of which there is one"}
    tops = (Top("y"), Top("places", exact=True, least=0))
    layout = "channels_last"
    constraints = {
        "kernel_size": Rule(low=1),
        "kernel_h": Rule(low=1),
        "kernel_w": Rule(low=1),
        "stride": Rule(low=1),
        "stride_h": Rule(low=1),
        "stride_w": Rule(low=1),
    }

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.pooling_param
        if len(layer.tops) > 1 and param.pool != _MAX:
            raise layer.error("only MAX pooling has a second top (the places of the maxima)", "top", 1)
        both = param.HasField("round_mode") and param.HasField("ceil_mode")
        if both and (param.round_mode == param.CEIL) != param.ceil_mode:
            raise layer.error("round_mode and ceil_mode contradict each other", cls.param, "ceil_mode")
        if param.global_pooling:
            _check_global(layer)
        else:
            _check_window(layer)

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`."""
        takes_notes = node.definition.training  # of which elements were taken
        return Reads(bottoms=node.arguments["method"] == "max" and not takes_notes)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.pooling_param
        return {
            "method": {_MAX: "max", _AVE: "average", _STOCHASTIC: "stochastic"}[param.pool],
            "kernel": _pair(param, "kernel_size", "kernel"),
            "stride": _pair(param, "stride", "stride"),
            "pad": _pair(param, "pad", "pad"),
            "global": bool(param.global_pooling),
            "round_up": param.round_mode == param.CEIL and param.ceil_mode and not param.torch_pooling,
            "padding_counts": bool(param.avg_include_pad),
            "places": len(layer.tops) > 1,
            "relu_below": False,
            "training": layer.training,
        }

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`; the places in a second top are of all maxima."""
        is_plain_max = node.arguments["method"] == "max" and not node.arguments["places"]
        return argument == "relu_below" and is_plain_max and bool(node.propagate_down[0])

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: one operation for each value in a window."""
        height, width = node.arguments["kernel"]
        return bottom_count(node) if node.arguments["global"] else prod(node.tops[0].shape) * height * width


def _pair(param: Any, square: str, stem: str) -> list[int]:
    """Height and width of a parameter that is given as one number or as `<stem>_h` and `<stem>_w`."""
    if param.HasField(f"{stem}_h") and param.HasField(f"{stem}_w") and not param.HasField(square):
        return [getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")]
    return [getattr(param, square)] * 2


def _check_global(layer: LayerDefinition) -> None:
    param = layer.message.pooling_param
    for field in ("kernel_size", "kernel_h", "kernel_w"):
        if param.HasField(field):
            raise layer.error(f"{field} cannot be combined with global_pooling", "pooling_param", field)
    for stem, neutral in (("stride", 1), ("pad", 0)):
        for field in (stem, f"{stem}_h", f"{stem}_w"):
            value = getattr(param, field)
            if param.HasField(field) and value != neutral:
                problem = f"with global_pooling {field} must be {neutral}, got {value}"
                raise layer.error(problem, "pooling_param", field)


def _check_window(layer: LayerDefinition) -> None:
    param = layer.message.pooling_param
    for square, stem in (("kernel_size", "kernel"), ("stride", "stride"), ("pad", "pad")):
        _check_given_once(layer, square, stem)
    pads, kernels = _pair(param, "pad", "pad"), _pair(param, "kernel_size", "kernel")
    if any(pads) and param.pool == _STOCHASTIC:
        raise layer.error(f"STOCHASTIC pooling takes no padding, got {pads}", "pooling_param")
    if any(pads) and any(pad >= kernel for pad, kernel in zip(pads, kernels)):
        problem = f"pad must be smaller than the kernel, got pad {pads} and kernel {kernels} (height, width)"
        raise layer.error(problem, "pooling_param")


def _check_given_once(layer: LayerDefinition, square: str, stem: str) -> None:
    """Check that a parameter is given as one number or as a pair, not as both or as half a pair."""
    param = layer.message.pooling_param
    fields = (f"{stem}_h", f"{stem}_w")
    given = [field for field in fields if param.HasField(field)]
    if param.HasField(square):
        if given:
            raise layer.error(f"{square} and {given[0]} are both given", "pooling_param", given[0])
    elif len(given) == 1:
        hint = f"give {fields[0]} and {fields[1]}, or {square}"
        raise layer.error(f"{given[0]} is given alone", "pooling_param", given[0], hint=hint)
    elif not given and square == "kernel_size":
        hint = "set pooling_param.kernel_size, or use global_pooling: true to pool the whole map"
        raise layer.error("the size of the window is not given", "pooling_param", hint=hint)
