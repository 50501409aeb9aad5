"""Trained weights in and out of a graph: by layer name, as Caffe matches them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, ShapeError
from ..prototxt import schema
from ..weights.blobs import shapes_match
from ..weights.caffemodel import LayerWeights, read_weights, write_weights
from .nodes import Graph, Node

log = logging.getLogger("caffe")

SHOWN_NAMES = 12
"""Names in one line of a report, at most."""


@dataclass
class Report:
    """What a file of weights did to a net: names of layers."""

    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        meanings = {
            "loaded": self.loaded,
            "reshaped": self.reshaped,  # loaded too, from another shape of as many values
            "new": self.new,  # the file does not have them
            "skipped": self.skipped,  # the net does not have them
            "frozen": self.frozen,  # loaded too, and not trained
        }
        return "\n".join(
            f"    {word:<9}{len(names):>5}  {_shortened(names)}".rstrip() for word, names in meanings.items()
        )


def _shortened(names: list[str]) -> str:
    shown = names if len(names) <= SHOWN_NAMES else [*names[: SHOWN_NAMES - 1], "..."]
    return ", ".join(shown)


def load(graph: Graph, path: str | os.PathLike[str], *, allow_unused: bool = False) -> Report:
    """Copy weights from a binary caffemodel of any age into the layers of the same name.

    Layers of the file that the net does not have are skipped; layers of the net that the file does not have
    keep their values. A table in the log says which.

    Parameters
    ----------
    allow_unused : bool
        Accept a file of which no layer fits.

    Raises
    ------
    MissingFileError, DataError
        If the file cannot be read.
    ShapeError
        If a layer's number of blobs or a shape differs.
    ConfigError
        If the net learns, and none of its layers is in the file.
    """
    nodes = _by_name(graph)
    sources = _with_blobs_first(read_weights(path))
    report = Report()
    for source in sources.values():
        target = nodes.get(source.name)
        if target is None:
            log.info("Ignoring source layer %s", source.name)
            if source.blobs:
                report.skipped.append(source.name)
            continue
        reshaped = _copy(target, source, path)
        if target.params:
            report.loaded.append(target.name)
            report.reshaped += [target.name] * reshaped
            report.frozen += [target.name] * all(param.lr_mult == 0 for param in target.params)
    report.new = [node.name for node in nodes.values() if node.params and node.name not in sources]
    if report.new and not report.loaded and not allow_unused:
        raise ConfigError(
            f"no layer of '{os.fspath(path)}' has the name of a layer of the net: nothing was loaded",
            hint=f"the file has {_shortened(report.skipped) or 'no weights'}; the net has "
            f"{_shortened(report.new)}; -allow_unused_weights goes on all the same",
        )
    log.info("Weights of '%s', in layers:\n%s", os.fspath(path), report)
    return report


def _by_name(graph: Graph) -> dict[str, Node]:
    """Nodes by name; of several, the one that has learned blobs, which is one at most."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        if node.params or node.name not in nodes:
            nodes[node.name] = node
    return nodes


def _with_blobs_first(sources: list[LayerWeights]) -> dict[str, LayerWeights]:
    """Layers of a file by name; of several, the last one that has blobs."""
    found: dict[str, LayerWeights] = {}
    for source in sources:
        if source.blobs or source.name not in found:
            found[source.name] = source
    return found


def _copy(target: Node, source: LayerWeights, path: str | os.PathLike[str]) -> bool:
    """Copy the blobs of one layer; returns whether one of them had another shape."""
    _check_count(target, len(source.blobs), path)
    reshaped = False
    for param, blob in zip(target.params, source.blobs):
        shape = list(param.blob.shape)
        if not shapes_match(blob, shape):
            raise target.definition.located(
                ShapeError(
                    f"blob {param.index} has shape {tuple(shape)}, "
                    f"in '{os.fspath(path)}' it has {tuple(blob.shape)}",
                    hint=_hint_for_shapes(shape, list(blob.shape)),
                )
            )
        reshaped |= list(blob.shape) != shape
        param.blob.data[...] = blob.data.reshape(shape)
        if blob.diff is not None:
            param.blob.diff[...] = blob.diff.reshape(shape)
    return reshaped


def _hint_for_shapes(mine: list[int], theirs: list[int]) -> str:
    if theirs and len(mine) == len(theirs) and mine[1:] == theirs[1:]:
        return f"set num_output: {theirs[0]}, or rename the layer to train it from scratch"
    return "give the layer the parameters it was trained with, or rename it to train it from scratch"


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
    nodes = _by_name(graph)
    for source in _by_name(other).values():
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
