"""Nets that read memory instead of databases, and random values to fill them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pycaffe_like.graph.build import build_graph
from pycaffe_like.graph.nodes import Graph
from pycaffe_like.prototxt import schema, upgrade
from pycaffe_like.prototxt.upgrade import NetDocument

from .task import Task

SEED = 1701


def make_document(task: Task) -> NetDocument:
    """Read the net of a task, with Input layers of the task's batch in place of data layers."""
    document = upgrade.read_net(task.net)
    for layer in document.message.layer:
        if layer.type == "Input":
            for shape in layer.input_param.shape:
                shape.dim[0] = task.batch
        elif layer.type in ("Data", "ImageData"):
            _replace_data(layer, (task.batch, *(task.shape or _image_shape(task, layer))))
        elif layer.type == "Dropout" and not task.dropout:
            layer.dropout_param.dropout_ratio = 0
    return document


def make_state(task: Task) -> Any:
    """The NetState to build for."""
    return schema.NetState(phase=schema.TRAIN if task.mode == "train" else schema.TEST)


def make_graph(task: Task) -> Graph:
    """Build the graph alone: params are filled, nothing is planned."""
    graph = build_graph(make_document(task), make_state(task), seed=SEED)
    if task.mode == "infer":
        fill_params(graph)
    return graph


def _image_shape(task: Task, layer: Any) -> tuple[int, ...]:
    """Shape of one image: channels and size of the deploy net beside this one, cropped as this one crops."""
    deploy = Path(task.net).with_name("deploy.prototxt")
    if not deploy.exists():
        raise SystemExit(f"{task.net} does not tell the shape of its images: give --shape C,H,W")
    inputs = next(item for item in upgrade.read_net(deploy).message.layer if item.type == "Input")
    channels, *size = inputs.input_param.shape[0].dim[1:]
    crop = layer.transform_param.crop_size
    return (channels, crop, crop) if crop else (channels, *size)


def _replace_data(layer: Any, shape: tuple[int, ...]) -> None:
    layer.type = "Input"
    for name in ("data_param", "image_data_param", "transform_param"):
        layer.ClearField(name)
    shapes = [shape, shape[:1]][: len(layer.top)]
    layer.input_param.shape.extend(schema.BlobShape(dim=dims) for dims in shapes)


def make_inputs(graph: Graph) -> dict[str, npt.NDArray[np.float32]]:
    """Draw normal values for images and random classes for labels, by name of the input."""
    random = np.random.default_rng(SEED)
    blobs = graph.blobs()
    return {name: _draw(random, blobs[name].shape, _count_classes(graph)) for name in graph.inputs}


def _draw(random: np.random.Generator, shape: list[int], classes: int) -> npt.NDArray[np.float32]:
    if len(shape) == 1:
        return random.integers(classes, size=shape).astype(np.float32)
    return random.standard_normal(shape, dtype=np.float32)


def _count_classes(graph: Graph) -> int:
    losses = [node for node in graph.nodes if node.definition.type == "SoftmaxWithLoss"]
    return min((node.bottoms[0].shape[1] for node in losses), default=1)


def fill_params(graph: Graph) -> None:
    """Give a deploy net, which has no fillers, weights and statistics that keep activations in range."""
    random = np.random.default_rng(SEED)
    for node in graph.nodes:
        for index, param in enumerate(node.params):
            shape = tuple(param.blob.shape)
            if node.definition.type == "BatchNorm" and index in (1, 2):
                param.blob.data[...] = 1
            elif len(shape) > 1:
                scale = np.sqrt(2 / np.prod(shape[1:]))
                param.blob.data[...] = scale * random.standard_normal(shape, dtype=np.float32)
            elif node.definition.type == "Scale" and index == 0:
                param.blob.data[...] = random.uniform(0.5, 1, shape)
