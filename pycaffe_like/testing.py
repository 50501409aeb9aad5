"""Small helpers to run one layer: for docstring examples, tests and experiments."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .net import TEST
from .pycaffe.net import Net


def net_from_text(text: str, phase: int = TEST, **options: Any) -> Net:
    """Build a net from prototxt text; `options` go to `Net`."""
    file, path = tempfile.mkstemp(suffix=".prototxt", text=True)
    try:
        with os.fdopen(file, "w") as stream:
            stream.write(text)
        return Net(path, phase, **options)
    finally:
        os.unlink(path)


def layer_net(
    layer: str,
    *bottoms: npt.ArrayLike,
    tops: int = 1,
    phase: int = TEST,
    backward: bool = True,
    **options: Any,
) -> Net:
    """Build a net of Input layers and one layer, and fill its inputs.

    Parameters
    ----------
    layer : str
        Fields of the layer except name, bottom and top.
    *bottoms : array_like
        Values of the bottoms, named b0, b1, ...; tops are named t0, t1, ...
    tops : int
        Number of tops.
    phase : {TRAIN, TEST}
    backward : bool
        Ask for the gradients of the bottoms.
    """
    arrays = [np.asarray(bottom, np.float32) for bottom in bottoms]
    lines = ["force_backward: true"] if backward else []
    for index, array in enumerate(arrays):
        dims = " ".join(f"dim: {dim}" for dim in array.shape)
        lines.append(
            f'layer {{ name: "b{index}" type: "Input" top: "b{index}" input_param {{ shape {{ {dims} }} }} }}'
        )
    names = "".join(f'bottom: "b{index}" ' for index in range(len(arrays)))
    names += "".join(f'top: "t{index}" ' for index in range(tops))
    lines.append(f'layer {{ name: "layer" {names} {layer} }}')
    net = net_from_text("\n".join(lines), phase, **options)
    for index, array in enumerate(arrays):
        net.blobs[f"b{index}"].data[...] = array
    return net


def run_layer(layer: str, *bottoms: npt.ArrayLike, tops: int = 1, phase: int = TEST) -> Sequence[Any]:
    """Run one layer forward; returns its top as nested lists (a list of them for several tops).

    Examples
    --------
    >>> run_layer('type: "ReLU"', [[-1.0, 2.0]])
    [[0.0, 2.0]]
    """
    net = layer_net(layer, *bottoms, tops=tops, phase=phase, backward=False)
    net.forward()
    values: list[Any] = [net.blobs[f"t{index}"].data.tolist() for index in range(tops)]
    return values[0] if tops == 1 else values
