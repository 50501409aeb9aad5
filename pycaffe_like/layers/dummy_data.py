"""DummyData: blobs with constant or random values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core as core
from ..errors import ConfigError
from ..facts import Reads, Top
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition

_LEGACY = ("num", "channels", "height", "width")


class DummyData(LayerType):
    """Make blobs of given shapes with values from fillers: data for tests and for timing.

    Parameters
    ----------
    shape : BlobShape, repeated
        Shape of each top: one for all, or one for each.
    num, channels, height, width : int, repeated
        Older form of `shape`, for 4-D tops: each once for all tops, or once for each.
    data_filler : FillerParameter, repeated, default constant 0
        Values of each top: one for all, or one for each.

    Returns
    -------
    tops
        Any number of blobs.

    Raises
    ------
    ConfigError
        If shapes or fillers are given another number of times, both forms of shape are mixed, or a filler is
        unknown, has parameters out of range or cannot fill the shape.
    ShapeError
        If a shape has a negative dimension, more than 32 axes or more than 2^31 - 1 elements.

    Notes
    -----
    Constant tops are filled once; when a layer changes them in place, the change stays. The others get new
    values in every forward pass, which depend on the net's seed, the layer's name, the top and the iteration
    only.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer {
          name: "noise" type: "DummyData" top: "noise"
          dummy_data_param { shape { dim: 64 dim: 100 } data_filler { type: "gaussian" } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> run_layer('type: "DummyData" dummy_data_param { shape { dim: 3 } data_filler { value: 0.5 } }')
    [0.5, 0.5, 0.5]
    """

    type = "DummyData"
    param = "dummy_data_param"
    fields = ("shape", "num", "channels", "height", "width", "data_filler")
    bottoms = ()
    tops = (Top(exact=True, most=None),)
    backward_reads = Reads()

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param, tops = layer.message.dummy_data_param, len(layer.tops)
        shapes = _shapes(param, tops)
        fillers = _for_each(list(param.data_filler) or [schema.FillerParameter()], tops)
        arguments: dict[str, Any] = {
            "axes": [len(shape) for shape in shapes],
            "dims": [dim for shape in shapes for dim in shape],
            "types": " ".join(filler.type for filler in fillers),
            "variance_norms": " ".join(filler.VarianceNorm.Name(filler.variance_norm) for filler in fillers),
            "sparse": [int(filler.sparse) for filler in fillers],
        }
        for name in ("value", "min", "max", "mean", "std"):
            arguments[name] = [float(getattr(filler, name)) for filler in fillers]
        return arguments

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.dummy_data_param
        legacy = [field for field in _LEGACY if len(getattr(param, field))]
        if legacy and len(param.shape):
            raise layer.error(f"give shape or {legacy[0]}, not both", cls.param, legacy[0], 0)
        for field in _LEGACY if legacy else ("shape",):
            _check_times(layer, field, at_least_once=True)
        _check_times(layer, "data_filler", at_least_once=False)
        for index, filler in enumerate(param.data_filler):
            _check_filler(layer, index, filler)

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0


def _check_times(layer: LayerDefinition, field: str, *, at_least_once: bool) -> None:
    """Check that a field is given once, or once for each top."""
    times, tops = len(getattr(layer.message.dummy_data_param, field)), len(layer.tops)
    if times in (1, tops) or (times == 0 and not at_least_once):
        return
    path = ("dummy_data_param", field, times - 1) if times else ("dummy_data_param",)
    raise layer.error(
        f"{field} must be given once for all tops or once for each of {tops}, got {times}", *path
    )


def _check_filler(layer: LayerDefinition, index: int, filler: Any) -> None:
    """Try the filler on a tiny blob, to find what is wrong with it at its place in the file."""
    try:
        core.fill(
            core.Blob([1, 1, 1, 1]), type=filler.type, value=filler.value, min=filler.min, max=filler.max,
            mean=filler.mean, std=filler.std, sparse=filler.sparse, variance_norm="FAN_IN", seed=0, stream=0,
        )  # fmt: skip
    except ConfigError as error:
        raise layer.error(error.problem, "dummy_data_param", "data_filler", index) from None


def _shapes(param: Any, tops: int) -> list[list[int]]:
    if len(param.shape):
        return _for_each([list(shape.dim) for shape in param.shape], tops)
    columns = [_for_each(list(getattr(param, field)), tops) for field in _LEGACY]
    return [list(dims) for dims in zip(*columns)]


def _for_each(values: list[Any], tops: int) -> list[Any]:
    """One value for each top, from one for all or one for each."""
    return values * tops if len(values) == 1 else values
