"""Runs one C++ layer without a net, in any layout and element type; says how exact results must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pycaffe_like import _core as core
from pycaffe_like.device import default_device
from pycaffe_like.layer_type import LayerType, layer_types
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt.definition import LayerDefinition

Array = npt.NDArray[np.float32]

DEVICE = default_device()
"""Where layers under test run: set_mode_gpu() is called before tests are collected if they are for a GPU."""

FORMS = [(layout, dtype) for layout in ("plain", "channels_last") for dtype in ("float32", "bfloat16")]
every_form = pytest.mark.parametrize(("layout", "dtype"), FORMS)


@dataclass
class Result:
    """What a layer made; `bottom_diffs` has None where no gradient was asked for."""

    tops: list[Array]
    bottom_diffs: list[Array | None]
    param_diffs: list[Array]
    params: list[Array]  # values of the learned blobs afterwards


def random_array(*shape: int, dtype: str = "float32", seed: int = 0) -> Array:
    """Normal numbers that `dtype` can hold exactly."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return rounded(values, dtype)


def rounded(values: npt.ArrayLike, dtype: str) -> Array:
    """The nearest float32 numbers that `dtype` can hold; of two that are as near the even one."""
    exact = np.array(values, np.float32)
    if dtype == "bfloat16":
        bits = exact.view(np.uint32)  # of which bfloat16 has the upper half
        numbers = ~np.isnan(exact)
        bits[numbers] = (bits[numbers] + 0x7FFF + (bits[numbers] >> 16 & 1)) & 0xFFFF0000
    return exact


def run(
    kind: str,
    arguments: dict[str, Any],
    *bottoms: Array,
    params: Sequence[Array] = (),
    param_diffs: Sequence[float] = (),
    top_diffs: Sequence[Array] | None = None,
    bottom_diffs: Sequence[Array] = (),
    propagate_down: Sequence[bool] | None = None,
    learn: Sequence[bool] | None = None,
    need_backward: bool = True,
    layout: str = "plain",
    dtype: str = "float32",
    plain_bottoms: Sequence[int] = (),
    in_place: bool = False,
    seed: int = 0,
    iteration: int = 0,
) -> Result:
    """Run a layer forward, and backward if `top_diffs` are given.

    `param_diffs` are the values the params' gradients hold before, `bottom_diffs` those of the bottoms;
    `learn` says which params want one, `plain_bottoms` are bottoms that stay plain beside those the type
    wants so; without `need_backward` the layer prepares for forward only, as for `caffe time`. In bfloat16
    the values are converted on the way in and out, as a net's plan does, but for those that are exact.
    """
    net = _Steps(kind, layout, dtype, need_backward)
    sources, inside = net.enter(bottoms, plain_bottoms)
    layer = core.create_layer(kind, net.device, arguments)
    layer.params = [
        _filled(values, net.device, _weights_layout(kind, index, net.device))
        for index, values in enumerate(params)
    ]
    layer.param_propagate_down = list(learn or [True] * len(params))
    for blob, value in zip(layer.params, param_diffs):
        blob.diff[...] = value
    shapes = layer.top_shapes([list(array.shape) for array in bottoms])
    tops = [inside[0]] if in_place else net.tops(shapes)
    flags = list(propagate_down or [True] * len(bottoms))
    net.add(layer, inside, tops, flags)
    results = net.leave(tops)
    executor = core.Executor(net.steps, seed)
    executor.iteration = iteration
    executor.forward(0, len(executor))
    made = [blob.data.copy() for blob in results]
    if top_diffs is None:
        return Result(made, [None] * len(bottoms), [], [blob.data.copy() for blob in layer.params])
    for blob, diff in zip(results, top_diffs):
        blob.diff[...] = diff
    for blob, diff in zip(inside, bottom_diffs):
        blob.assign_diff(_filled(diff, net.device, layout))
    executor.iteration = iteration + 7  # backward belongs to the last forward, whatever comes after
    executor.backward(0, len(executor), all=not need_backward)
    bottom_diffs_made = [blob.diff.copy() if flag else None for blob, flag in zip(sources, flags)]
    param_diffs_made = [blob.diff.copy() for blob in layer.params]
    return Result(made, bottom_diffs_made, param_diffs_made, [blob.data.copy() for blob in layer.params])


class _Steps:
    """The steps of a small plan, with conversions where the layer's blobs are not float32."""

    def __init__(self, kind: str, layout: str, dtype: str, need_backward: bool) -> None:
        self.kind = layer_types().get(kind, LayerType)
        self.device = DEVICE if kind in core.registered_layers(DEVICE) else "cpu"
        self.layout, self.dtype, self.need_backward = layout, dtype, need_backward
        self.steps: list[core.Step] = []

    def add(self, layer: Any, bottoms: list[Any], tops: list[Any], flags: list[bool]) -> None:
        self.steps.append(
            core.Step(
                name=f"step {len(self.steps)}", layer=layer, bottoms=bottoms, tops=tops,
                loss_weights=[0.0] * len(tops), propagate_down=flags, need_backward=self.need_backward,
            )
        )  # fmt: skip

    def enter(self, arrays: Sequence[Array], plain: Sequence[int]) -> tuple[list[Any], list[Any]]:
        facts = self.kind.bottom_facts(len(arrays))
        layouts = [
            "plain" if index in plain or fact.plain else self.layout for index, fact in enumerate(facts)
        ]
        sources = [_filled(array, self.device, layout) for array, layout in zip(arrays, layouts)]
        inside = [
            blob if self.dtype == "float32" or fact.exact else self._convert(blob, self.dtype, layout)
            for blob, fact, layout in zip(sources, facts, layouts)
        ]
        return sources, inside

    def tops(self, shapes: Sequence[Sequence[int]]) -> list[Any]:
        return [
            core.Blob(
                shape,
                "float32" if fact.exact else self.dtype,
                "plain" if fact.plain else self.layout,
                self.device,
            )
            for shape, fact in zip(shapes, self.kind.top_facts(len(shapes)))
        ]

    def leave(self, tops: list[Any]) -> list[Any]:
        return [top if top.dtype == "float32" else self._convert(top, "float32", self.layout) for top in tops]

    def _convert(self, blob: Any, dtype: str, layout: str) -> Any:
        converted = core.Blob(blob.shape, dtype, layout, self.device)
        self.add(core.create_layer("Reorder", self.device, {}), [blob], [converted], [True])
        return converted


def _filled(values: Array, device: str, layout: str = "plain") -> Any:
    blob = core.Blob(list(values.shape), "float32", layout, device)
    blob.data[...] = values
    return blob


def _weights_layout(kind: str, index: int, device: str) -> str:
    """How a learned blob lies in memory, for a layer without parameters of its own."""
    learned = layer_types()[kind].learned(LayerDefinition(schema.LayerParameter(type=kind)))
    return learned[index].layout if device == "cuda" and index < len(learned) else "plain"


def assert_near(got: npt.ArrayLike, wanted: npt.ArrayLike, dtype: str = "float32", terms: int = 1) -> None:
    """Check values that are sums of `terms` products: the one table of tolerances of the layer tests.

    float32: 1e-5 of the value, and 3e-7 * sqrt(terms) of the largest for sums; bfloat16: 2^-7 of the largest.
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape, f"shape {got.shape}, wanted {wanted.shape}"
    largest = np.max(np.abs(wanted), initial=0.0)
    if dtype == "bfloat16":
        allowed = np.full(wanted.shape, 2.0**-7 * largest)
    else:
        allowed = 1e-5 * np.abs(wanted) + (3e-7 * np.sqrt(terms) * largest if terms > 1 else 0.0)
    wrong = ~(np.abs(got - wanted) <= allowed)
    assert not wrong.any(), (
        f"{int(wrong.sum())} of {wrong.size} differ, first {got[wrong][0]!r}, wanted {wanted[wrong][0]!r}"
    )
