"""What the tests of loss layers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import caffe
from helpers.direct import DEVICE, Array, assert_near
from pycaffe_like import _core as core
from pycaffe_like.pycaffe.net import Net
from pycaffe_like.testing import layer_net

Float64 = npt.NDArray[np.float64]

MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]
PER_ITEM = {"normalization": "batch_size", "normalizer": 1.0, "ignores": False, "ignore_label": 0}
"""Arguments of losses that do not read loss_param."""


def loss_net(kind: str, fields: str, *bottoms: npt.ArrayLike, tops: int = 1) -> Net:
    """Net of a loss alone, with the gradients of all bottoms that have one."""
    return layer_net(f'type: "{kind}" {fields}', *bottoms, tops=tops, phase=caffe.TRAIN)


def check_loss(net: Net, wanted: float, *gradients: Float64, terms: int = 2) -> None:
    """Run a net of a loss alone, and compare loss and gradients of the first bottoms."""
    assert_near(net.forward_loss(), wanted)
    net.backward()
    for index, gradient in enumerate(gradients):
        assert_near(net.blobs[f"b{index}"].diff, gradient, terms=terms)


def slope(formula: Callable[[Float64], float], at: npt.ArrayLike, step: float = 1e-6) -> Float64:
    """Gradient of a float64 formula by central differences."""
    values = np.array(at, np.float64)
    gradient = np.empty_like(values)
    for place in np.ndindex(values.shape):
        middle = values[place]
        values[place] = middle + step
        above = formula(values)
        values[place] = middle - step
        gradient[place] = (above - formula(values)) / (2 * step)
        values[place] = middle
    return gradient


def divisor(mode: str, labels: int, valid: int, items: int) -> int:
    """What a loss divides by."""
    return max(1, {"FULL": labels, "VALID": valid, "BATCH_SIZE": items, "NONE": 1}[mode])


def run_in_form(
    kind: str, arguments: dict[str, Any], bottoms: Sequence[Array], learns: int, layout: str, dtype: str
) -> tuple[float, list[Array]]:
    """Run a loss whose first `learns` bottoms are converted on the way in, as in a net's plan.

    Returns
    -------
    loss : float
    gradients : list of arrays
        Of these bottoms.
    """
    sources, inside, steps = [], [], []
    for index, array in enumerate(bottoms):
        source = core.Blob(list(array.shape), "float32", layout, DEVICE)
        source.data[...] = array
        sources.append(source)
        inside.append(core.Blob(list(array.shape), dtype, layout, DEVICE) if index < learns else source)
        if index < learns:
            steps.append(_step("Reorder", {}, [source], inside[index:], [True], 0.0))
    loss = core.Blob([], "float32", "plain", DEVICE)
    flags = [index < learns for index in range(len(bottoms))]
    steps.append(_step(kind, arguments, inside, [loss], flags, 1.0))
    executor = core.Executor(steps, 0)
    total = executor.forward(0, len(steps))
    executor.backward(0, len(steps))
    return total, [source.diff for source in sources[:learns]]


def _step(
    kind: str,
    arguments: dict[str, Any],
    bottoms: list[Any],
    tops: list[Any],
    flags: list[bool],
    weight: float,
) -> Any:
    layer = core.create_layer(kind, DEVICE, arguments)
    return core.Step(
        name=kind, layer=layer, bottoms=bottoms, tops=tops, loss_weights=[weight], propagate_down=flags,
        need_backward=True,
    )  # fmt: skip
