"""Reads and writes binary weights: `.caffemodel`.

Of a file only names, types and blobs are read, from all three formats of a layer; the rest may be
any fork's. Files are written part by part, so that no second copy of the weights is made.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy.typing as npt

from ..errors import DataError
from ..prototxt import schema
from ..prototxt.upgrade import V1_TYPES
from ..prototxt.upgrade_v0 import TYPES as V0_TYPES
from .blobs import (
    BlobArray,
    encode_blob,
    encoded_size,
    read_blob,
)
from .wire import LENGTH, MAX_BYTES, VARINT, Field, Wire, encode_head, open_wire, signed, split_at

MAX_LAYERS = 100_000
MAX_BLOBS = 1_000
"""Of one layer."""


class _Format(NamedTuple):
    """Field numbers of a layer in one of its formats."""

    name: int
    type: int
    blobs: int


_V0, _V1, _V2 = _Format(1, 2, 50), _Format(4, 5, 6), _Format(1, 2, 7)
_NET_LAYERS, _NET_LAYER, _V1_LAYER = 2, 100, 1


@dataclass
class LayerWeights:
    """What a file holds of one layer."""

    name: str = ""
    type: str = ""
    blobs: list[BlobArray] = field(default_factory=list)


def read_weights(path: str | os.PathLike[str]) -> list[LayerWeights]:
    """Read the weights of a `.caffemodel`.

    Parameters
    ----------
    path : str or Path
        Binary file of any age (V0, V1, V2) and any fork, at most 2 GiB.

    Returns
    -------
    list of LayerWeights
        In the order of the file, also layers without blobs. Arrays are read-only; those that need no
        conversion share the memory of the file.

    Raises
    ------
    MissingFileError, DataError
        The file is missing, cannot be read or is damaged; the error names the byte.
    """
    wire = open_wire(path, "is it a binary .caffemodel, completely copied?")
    layers: list[LayerWeights] = []
    for item in wire.fields():
        if item.number not in (_NET_LAYERS, _NET_LAYER):
            continue
        wire.expect(item, LENGTH, "a layer")
        if len(layers) == MAX_LAYERS:
            raise wire.error(f"more than {MAX_LAYERS} layers", item.offset)
        layers.append(_read_layer(wire, item, _V2 if item.number == _NET_LAYER else _V1))
    if not layers:
        raise wire.error("there are no layers in the file", 0)
    return layers


def _read_layer(wire: Wire, record: Field, numbers: _Format) -> LayerWeights:
    layer = LayerWeights()
    for item in wire.fields(record.start, record.end):
        if item.number == numbers.name:
            layer.name = wire.text(item)
        elif item.number == numbers.type:
            layer.type = _read_type(wire, item, numbers)
        elif item.number == numbers.blobs:
            wire.expect(item, LENGTH, "a blob")
            if len(layer.blobs) == MAX_BLOBS:
                raise wire.error(f"layer {layer.name!r} has more than {MAX_BLOBS} blobs", item.offset)
            layer.blobs.append(read_blob(wire, item.start, item.end))
        elif item.number == _V1_LAYER and numbers is _V1:
            wire.expect(item, LENGTH, "a layer")
            layer = _read_layer(wire, item, _V0)
    return layer


def _read_type(wire: Wire, item: Field, numbers: _Format) -> str:
    """Return today's name of a layer's type; V1 types that only a fork knows are empty."""
    if numbers is _V1:
        wire.expect(item, VARINT, "a layer type")
        by_number = schema.V1LayerParameter.LayerType.DESCRIPTOR.values_by_number
        known = by_number.get(signed(item.value))
        return V1_TYPES[known.name] if known else ""
    name = wire.text(item)
    return V1_TYPES[V0_TYPES[name]] if numbers is _V0 and name in V0_TYPES else name


class Written(NamedTuple):
    """What was written: for the solver state, which remembers it."""

    bytes: int
    crc32: int


LayerToWrite = tuple[Any, Sequence[npt.ArrayLike], Sequence[npt.ArrayLike] | None]
"""A `LayerParameter`, whose own blobs are not written, its blobs, and their diffs or None."""


def write_weights(stream: BinaryIO, net_name: str, layers: Iterable[LayerToWrite]) -> Written:
    """Write a `.caffemodel`, byte for byte as protobuf would.

    Parameters
    ----------
    stream : binary file object
        Written to from front to back.
    net_name : str
        Written as the net's name.
    layers : iterable of (LayerParameter, blobs, diffs or None)
        Blobs are arrays of their logical shape; they are stored as float32.

    Raises
    ------
    DataError
        The file would have more than 2 GiB, which protobuf cannot read. Nothing has been written.
    """
    total, crc32 = 0, 0
    for part in _checked_parts(net_name, layers):
        stream.write(part)
        total += len(part)
        crc32 = zlib.crc32(part, crc32)
    return Written(total, crc32)


def _checked_parts(net_name: str, layers: Iterable[LayerToWrite]) -> list[Any]:
    parts: list[Any] = [schema.NetParameter(name=net_name).SerializeToString()]
    for layer in layers:
        body = _layer_parts(*layer)
        parts += [encode_head(_NET_LAYER, encoded_size(body)), *body]
    size = encoded_size(parts)
    if size > MAX_BYTES:
        raise DataError(
            f"the weights take {size} bytes, more than protobuf can read", hint="save them as HDF5"
        )
    return parts


def _layer_parts(
    parameter: Any, blobs: Sequence[npt.ArrayLike], diffs: Sequence[npt.ArrayLike] | None
) -> list[Any]:
    bare = schema.LayerParameter()
    bare.CopyFrom(parameter)
    bare.ClearField("blobs")
    before, after = split_at(bare.SerializeToString(), _V2.blobs)
    parts: list[Any] = [before]
    for i, blob in enumerate(blobs):
        body = encode_blob(blob, diffs[i] if diffs is not None else None)
        parts += [encode_head(_V2.blobs, encoded_size(body)), *body]
    return [*parts, after]
