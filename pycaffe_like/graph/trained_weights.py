"""Trained weights in and out of a graph: by layer name, as Caffe matches them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, ShapeError
from ..prototxt import schema
from ..weights.blobs import shapes_match
from ..weights.caffemodel import read_weights, write_weights
from .nodes import Graph, Node

log = logging.getLogger("caffe")


def load(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Copy weights from a binary caffemodel of any age into the layers of the same name.

    Layers of the file that the net does not have are skipped; layers of the net that the file does not have
    keep their values.

    Raises
    ------
    MissingFileError, DataError
        If the file cannot be read.
    ShapeError
        If a layer's number of blobs or a shape differs.
    """
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        nodes.setdefault(node.name, node)
    for source in read_weights(path):
        target = nodes.get(source.name)
        if target is None:
            log.info("Ignoring source layer %s", source.name)
            continue
        _check_count(target, len(source.blobs), path)
        for param, blob in zip(target.params, source.blobs):
            shape = list(param.blob.shape)
            if not shapes_match(blob, shape):
                raise target.definition.located(
                    ShapeError(
                        f"blob {param.index} has shape {tuple(shape)}, "
                        f"in '{os.fspath(path)}' it has {tuple(blob.shape)}",
                        hint="rename the layer to train it from scratch",
                    )
                )
            param.blob.data[...] = blob.data.reshape(shape)
            if blob.diff is not None:
                param.blob.diff[...] = blob.diff.reshape(shape)


def _check_count(node: Node, count: int, path: str | os.PathLike[str]) -> None:
    if count != len(node.params):
        raise node.definition.located(
            ShapeError(
                f"the layer has {len(node.params)} learned blobs, in '{os.fspath(path)}' it has {count}",
                hint="rename the layer to train it from scratch",
            )
        )


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a binary caffemodel that Caffe and other readers load."""
    try:
        with open(path, "wb") as file:
            write(graph, file)
    except OSError as error:
        raise DataError(f"cannot write '{os.fspath(path)}': {error.strerror}") from error


def write(graph: Graph, file: Any, *, diffs: bool = False) -> None:
    """Write the net as a caffemodel to an open binary file."""
    write_weights(file, graph.name, _layers(graph, diffs))


def _layers(graph: Graph, diffs: bool) -> Iterator[tuple[Any, list[Any], list[Any] | None]]:
    for node in graph.nodes:
        message = schema.LayerParameter()
        message.CopyFrom(node.definition.message)
        del message.blobs[:]
        blobs = [np.ascontiguousarray(param.blob.data) for param in node.params]
        yield (
            message,
            blobs,
            [np.ascontiguousarray(param.blob.diff) for param in node.params] if diffs else None,
        )


def share(graph: Graph, other: Graph) -> None:
    """Let `graph` use the values of the same-named layers of `other`, without copying."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        nodes.setdefault(node.name, node)
    for source in other.nodes:
        target = nodes.get(source.name)
        if target is None:
            continue
        _check_count(target, len(source.params), "the other net")
        for mine, theirs in zip(target.params, source.params):
            if list(mine.blob.shape) != list(theirs.blob.shape):
                raise target.definition.located(
                    ShapeError(
                        f"blob {mine.index} has shape {tuple(mine.blob.shape)}, the other net's has "
                        f"{tuple(theirs.blob.shape)}"
                    )
                )
            if mine.blob.device != theirs.blob.device:
                raise target.definition.located(
                    ConfigError("nets on different devices cannot share weights; copy them instead")
                )
            mine.blob.share_data(theirs.blob)
