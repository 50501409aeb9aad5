"""What all data layers share: their running layer, and checks of their sources."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal, cast

from .. import _core as core
from ..data.loader import DataLoader
from ..errors import ConfigError
from ..facts import Reads
from ..graph.locate import errors_of_layer
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition

OpenLoader = Callable[[int, int], DataLoader]
"""Opens a loader with a seed, at a number of records delivered."""

MOST_PREFETCH = 1024


class DataLayerType(LayerType):
    """A type whose layers are `DataLayer`."""

    bottoms = ()
    backward_reads = Reads()
    recomputable = False

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0


class DataLayer(core.Layer):
    """A running data layer: hands a loader's batches to the tops without copying them.

    Parameters
    ----------
    layer : LayerDefinition
    seed : int
    open_loader : callable
        Its batches have an array for each top.
    """

    def __init__(self, layer: LayerDefinition, seed: int, open_loader: OpenLoader) -> None:
        super().__init__()
        self._definition = layer
        self._seed = seed
        self._open = open_loader
        self._loader = open_loader(seed, 0)

    @property
    def position(self) -> int:
        """Number of records delivered."""
        return self._loader.position

    @position.setter
    def position(self, record: int) -> None:
        self._loader.close()
        with errors_of_layer(self._definition):
            self._loader = self._open(self._seed, record)

    def reseed(self, seed: int) -> None:
        """Draw what is random (order, crops, mirrors) from another seed, from the next batch on."""
        self._seed = seed
        self.position = self.position

    def close(self) -> None:
        """Stop the background threads and let go of files."""
        self._loader.close()

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[list[int]]:
        """See `core.Layer.top_shapes`."""
        return [list(shape) for shape in self._loader.shapes]

    def private_bytes(self, training: bool) -> int:
        """Size of the batches made ahead and of what the source keeps; the batch in use is the tops'."""
        return self._loader.private_bytes

    def forward(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:
        """Put the next batch into the tops."""
        with errors_of_layer(self._definition):
            batch = self._loader.next()
        for blob, array in zip(top, batch.arrays, strict=True):
            blob.alias_data(array)

    def backward(self, top: list[core.Blob], propagate_down: list[bool], bottom: list[core.Blob]) -> None:
        """Do nothing: there is no bottom."""


def check_source(layer: LayerDefinition, param: str, what: str) -> None:
    """Refuse a layer whose parameters name no source."""
    if not getattr(layer.message, param).source:
        raise layer.error("source is missing", param, hint=f"set {param}.source to {what}")


def check_rand_skip(layer: LayerDefinition, param: str, records: int) -> None:
    """Refuse a rand_skip that may pass over all records."""
    rand_skip = getattr(layer.message, param).rand_skip
    if rand_skip > records:
        raise layer.error(
            f"rand_skip must be an int <= {records}, the number of records, got {rand_skip}",
            param,
            "rand_skip",
        )


def bad_record_policy() -> Literal["error", "skip"]:
    """What the user wants done about bad records."""
    policy = os.environ.get("CAFFE_ON_BAD_RECORD", "error")
    if policy not in ("error", "skip"):
        raise ConfigError(f"CAFFE_ON_BAD_RECORD must be error or skip, got {policy!r}")
    return cast("Literal['error', 'skip']", policy)
