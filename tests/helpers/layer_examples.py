"""One small working example of every layer type, for tests that hold for all types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pycaffe_like.layer_type import layer_types
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext
from pycaffe_like.pycaffe.net import Net
from pycaffe_like.testing import net_from_text

Shape = tuple[int, ...]
MAP: Shape = (2, 3, 5, 4)


@dataclass(frozen=True)
class Example:
    """A layer and what it reads.

    Attributes
    ----------
    fields : str
        Fields of the layer besides name, type, bottom and top.
    bottoms : tuple of tuple of int
        Shapes of its bottoms.
    tops : int
        Number of its tops.
    labels : tuple of int
        Bottoms that hold class numbers 0, 1, 2.
    """

    fields: str = ""
    bottoms: tuple[Shape, ...] = (MAP,)
    tops: int = 1
    labels: tuple[int, ...] = ()


_FILLED = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 max: 1 }'
_WINDOW = "num_output: 4 kernel_size: 3 pad: 1 stride: 2 dilation: 1 group: 1"

EXAMPLES = {
    "Accuracy": Example("accuracy_param { top_k: 1 }", bottoms=((4, 3), (4,)), labels=(1,)),
    "BatchNorm": Example("batch_norm_param { use_global_stats: false eps: 1e-3 }"),
    "Bias": Example('bias_param { filler { type: "uniform" min: -1 } }'),
    "Concat": Example("concat_param { axis: 1 }", bottoms=(MAP, (2, 2, 5, 4))),
    "Convolution": Example(f"convolution_param {{ {_WINDOW} {_FILLED} }}"),
    "Data": Example(
        'data_param { source: "files/color_lmdb" batch_size: 2 backend: LMDB }',
        bottoms=(), tops=2,
    ),
    "Dropout": Example("dropout_param { dropout_ratio: 0.25 }"),
    "DummyData": Example(
        'dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "gaussian" } }', bottoms=()
    ),
    "Eltwise": Example("eltwise_param { coeff: 1 coeff: -2 }", bottoms=(MAP, MAP)),
    "Flatten": Example("flatten_param { axis: 1 end_axis: -1 }"),
    "InnerProduct": Example(f"inner_product_param {{ num_output: 4 {_FILLED} }}"),
    "Input": Example("input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } }", bottoms=()),
    "LRN": Example("lrn_param { local_size: 3 alpha: 0.5 }"),
    "Pooling": Example("pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
    "Python": Example(
        'python_param { module: "helpers.python_layers" layer: "Scaled" param_str: "twice" }',
        bottoms=(MAP, (2, 3)), tops=2,
    ),
    "ReLU": Example("relu_param { negative_slope: 0.1 }"),
    "Reshape": Example("reshape_param { shape { dim: 0 dim: -1 dim: 2 } num_axes: -1 }"),
    "Scale": Example('scale_param { filler { type: "uniform" min: 0.5 } bias_term: true }'),
    "Silence": Example(bottoms=(MAP, (2,)), tops=0),
    "Softmax": Example("softmax_param { axis: 1 }"),
    "SoftmaxWithLoss": Example("loss_param { normalization: VALID }", bottoms=((4, 3), (4,)), labels=(1,)),
    "Split": Example(tops=2),
    "TanH": Example(),
}  # fmt: skip


def message_of(kind: str) -> Any:
    """The example of a type as a LayerParameter named "layer", bottoms b0, b1, ..., tops t0, t1, ..."""
    example = EXAMPLES[kind]
    net = prototext.parse(f"layer {{ {example.fields} }}", schema.NetParameter).message
    layer = net.layer[0]
    layer.name, layer.type = "layer", kind
    layer.bottom.extend(f"b{index}" for index in range(len(example.bottoms)))
    layer.top.extend(f"t{index}" for index in range(example.tops))
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
        dims = " ".join(f"dim: {dim}" for dim in shape)
        name = f"source{index}" if plain else f"b{index}"
        lines.append(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'
        )
        if plain:
            shape_param = f"reshape_param {{ shape {{ {dims} }} }}"
            lines.append(
                f'layer {{ name: "b{index}" type: "Reshape" bottom: "{name}" top: "b{index}" {shape_param} }}'
            )
    text = layer if isinstance(layer, str) else prototext.format(layer)
    lines += ["layer {", text, "}"]
    return "\n".join(lines)


def build(kind: str, phase: int = TRAIN, *, plain: bool = False, seed: int = 1, **options: Any) -> Net:
    """Build the example of a type, with filled inputs."""
    example = EXAMPLES[kind]
    net = net_from_text(net_text(message_of(kind), example.bottoms, plain=plain), phase, seed=seed, **options)
    fill(net, example.labels)
    return net


def between_matrix_layers(kind: str, phase: int = TEST, **options: Any) -> Net:
    """Build the example with bottoms that are bfloat16 in such a plan, and random gradients of its tops."""
    example, layer = EXAMPLES[kind], message_of(kind)
    lines = net_text(layer, example.bottoms).split("\n")
    for index, shape in enumerate(example.bottoms):
        if index not in example.labels:
            lines[index + 1] = lines[index + 1].replace(f'"b{index}"', f'"source{index}"')
            lines.insert(lines.index("layer {"), _matrix_layer(f"source{index}", f"b{index}", shape))
    if example.bottoms and layer_types()[kind].bottom(0).gradient and not layer_types()[kind].loss:
        lines += [_weighing(top, blob.shape) for top, blob in build(kind).blobs.items() if top[0] == "t"]
    net = net_from_text("\n".join(lines), phase, seed=1, **options)
    fill(net, example.labels)
    return net


def _matrix_layer(bottom: str, top: str, shape: Shape) -> str:
    """Layer that keeps the shape: a 1x1 Convolution, or an InnerProduct over the last axis."""
    kind, param = "InnerProduct", f"inner_product_param {{ axis: -1 num_output: {shape[-1]}"
    if len(shape) > 2:
        kind, param = "Convolution", f"convolution_param {{ kernel_size: 1 num_output: {shape[1]}"
    filler = 'weight_filler { type: "gaussian" std: 0.5 }'
    return f'layer {{ name: "to_{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {param} {filler} }} }}'


def _weighing(top: str, shape: Sequence[int]) -> str:
    """Loss that is the sum of the top's values times random numbers, which so become its gradient."""
    dims = " ".join(f"dim: {dim}" for dim in shape)
    return (
        f'layer {{ name: "r_{top}" type: "Input" top: "r_{top}" input_param {{ shape {{ {dims} }} }} }} '
        f'layer {{ name: "w_{top}" type: "Eltwise" bottom: "{top}" bottom: "r_{top}" top: "w_{top}" '
        "eltwise_param { operation: PROD } loss_weight: 1 }"
    )


def fill(net: Net, labels: Sequence[int] = ()) -> None:
    """Give the inputs values between -1 and 1, class numbers where `labels` says so."""
    random = np.random.default_rng(5)
    for index, name in enumerate(net.inputs):
        values = net.blobs[name].data
        labelled = index in labels
        values[...] = random.integers(0, 3, values.shape) if labelled else random.uniform(-1, 1, values.shape)


def run(net: Net) -> dict[str, Any]:
    """Run forward and backward with random top diffs; copies of all data, diffs and gradients of params."""
    net.clear_param_diffs()
    net.forward()
    weights = net.blob_loss_weights
    random = np.random.default_rng(6)
    for name in net.outputs:
        blob = net.blobs[name]
        if not weights[name] and blob.dtype == "float32":
            blob.diff[...] = random.uniform(-1, 1, blob.diff.shape)
    net.backward()
    results = {f"data {name}": blob.data.copy() for name, blob in net.blobs.items()}
    gradients = {f"diff {name}": net.blobs[name].diff.copy() for name in net.inputs}
    learned = {
        f"gradient {layer}/{index}": blob.diff.copy()
        for layer, blobs in net.params.items()
        for index, blob in enumerate(blobs)
    }
    return {**results, **gradients, **learned}
