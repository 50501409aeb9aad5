"""Builds and runs the example that every layer type has in its tests, for tests that hold for all types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers.layer_facts import Example, Shape, example
from pycaffe_like import _core as core
from pycaffe_like.layer_type import layer_types
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext
from pycaffe_like.pycaffe.net import Net
from pycaffe_like.testing import net_from_text


def message_of(kind: str) -> Any:
    """The example of a type as a LayerParameter named "layer", bottoms b0, b1, ..., tops t0, t1, ..."""
    told = example(kind)
    net = prototext.parse(f"layer {{ {told.fields} }}", schema.NetParameter).message
    layer = net.layer[0]
    layer.name, layer.type = "layer", kind
    layer.bottom.extend(f"b{index}" for index in range(len(told.bottoms)))
    layer.top.extend(f"t{index}" for index in range(told.tops))
    return layer


def net_text(layer: Any, bottoms: Sequence[Shape], *, plain: bool = False) -> str:
    """Net of Input layers and one layer, with all gradients asked for.

    Parameters
    ----------
    layer : LayerParameter or str
        Message, or its text inside the braces.
    bottoms : sequence of shapes
        What b0, b1, ... are.
    plain : bool
        Give the layer C-contiguous bottoms, where 4-D and 5-D ones would be channels-last.
    """
    lines = ["force_backward: true"]
    for index, shape in enumerate(bottoms):
        name = f"source{index}" if plain else f"b{index}"
        lines.append(input_layer(name, shape))
        if plain:
            shape_param = f"reshape_param {{ shape {{ {_dims(shape)} }} }}"
            lines.append(
                f'layer {{ name: "b{index}" type: "Reshape" bottom: "{name}" top: "b{index}" {shape_param} }}'
            )
    text = layer if isinstance(layer, str) else prototext.format(layer)
    lines += ["layer {", text, "}"]
    return "\n".join(lines)


def input_layer(name: str, shape: Sequence[int]) -> str:
    """Text of an Input layer with one top of its own name."""
    param = f"input_param {{ shape {{ {_dims(shape)} }} }}"
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" {param} }}'


def _dims(shape: Sequence[int]) -> str:
    return " ".join(f"dim: {dim}" for dim in shape)


def build(kind: str, phase: int = TRAIN, *, plain: bool = False, seed: int = 1, **options: Any) -> Net:
    """Build the example of a type, with filled inputs."""
    text = net_text(message_of(kind), example(kind).bottoms, plain=plain)
    net = net_from_text(text, phase, seed=seed, **options)
    fill(net, example(kind))
    return net


def between_matrix_layers(kind: str, phase: int = TEST, **options: Any) -> Net:
    """Build the example with bottoms that are bfloat16 in such a plan, and random gradients of its tops."""
    told = example(kind)
    lines = net_text(message_of(kind), told.bottoms).split("\n")
    for index, shape in enumerate(told.bottoms):
        if index not in told.labels and index not in told.given:
            rounded_bottom(lines, index, shape)
    takes_gradient = told.bottoms and layer_types()[kind].bottom_facts(len(told.bottoms))[0].gradient
    if takes_gradient and not layer_types()[kind].loss:
        lines += [_weighing(top, blob.shape) for top, blob in build(kind).blobs.items() if top[0] == "t"]
    net = net_from_text("\n".join(lines), phase, seed=1, **options)
    fill(net, told)
    return net


def rounded_bottom(lines: list[str], index: int, shape: Shape) -> None:
    """Let a matrix layer make a bottom of the example, which is bfloat16 then in such a plan."""
    lines[index + 1] = lines[index + 1].replace(f'"b{index}"', f'"source{index}"')
    lines.insert(lines.index("layer {"), _matrix_layer(f"source{index}", f"b{index}", shape))


def _matrix_layer(bottom: str, top: str, shape: Shape) -> str:
    """Layer that keeps the shape: a 1x1 Convolution, or an InnerProduct over the last axis."""
    kind, param = "InnerProduct", f"inner_product_param {{ axis: -1 num_output: {shape[-1]}"
    if len(shape) > 2:
        kind, param = "Convolution", f"convolution_param {{ kernel_size: 1 num_output: {shape[1]}"
    filler = 'weight_filler { type: "gaussian" std: 0.5 }'
    return f'layer {{ name: "to_{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {param} {filler} }} }}'


def _weighing(top: str, shape: Sequence[int]) -> str:
    """Loss that is the sum of the top's values times random numbers, which so become its gradient."""
    return (
        f"{input_layer(f'r_{top}', shape)} "
        f'layer {{ name: "w_{top}" type: "Eltwise" bottom: "{top}" bottom: "r_{top}" top: "w_{top}" '
        "eltwise_param { operation: PROD } loss_weight: 1 }"
    )


def fill(net: Net, told: Example) -> None:
    """Give the inputs values between -1 and 1, or what the example says of its bottoms."""
    random = np.random.default_rng(5)
    for index, name in enumerate(net.inputs):
        values = net.blobs[name].data
        if index in told.given:
            values[...] = np.resize(told.given[index], values.shape)
        elif index in told.labels:
            values[...] = random.integers(0, 3, values.shape)
        else:
            values[...] = random.uniform(-1, 1, values.shape)


def run(net: Net) -> dict[str, Any]:
    """Run forward and backward with random top diffs; copies of all data, diffs and gradients of params."""
    net.clear_param_diffs()
    net.forward()
    give_gradients(net)
    net.backward()
    results = {f"data {name}": blob.data.copy() for name, blob in net.blobs.items()}
    gradients = {f"diff {name}": net.blobs[name].diff.copy() for name in net.inputs}
    learned = {
        f"gradient {layer}/{index}": blob.diff.copy()
        for layer, blobs in net.params.items()
        for index, blob in enumerate(blobs)
    }
    return {**results, **gradients, **learned}


def give_gradients(net: Net) -> None:
    """Give random gradients to the outputs that are no losses."""
    random = np.random.default_rng(6)
    for name in net.outputs:
        blob = net.blobs[name]
        if not net.blob_loss_weights[name]:
            gradient = core.Blob(blob.shape, "float32", blob.layout, blob.device)
            gradient.data[...] = random.uniform(-1, 1, blob.shape)
            blob.assign_diff(gradient)
