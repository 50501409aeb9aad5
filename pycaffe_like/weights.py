"""Reads and writes binary weights, mean images and solver states.

Of a `.caffemodel` only names, types and blobs are read, from all three formats of a layer; the rest may be
any fork's. Files are written part by part, so that no second copy of the weights is made.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy.typing as npt
from google.protobuf.message import DecodeError

from . import schema
from .blobs import (
    Array,
    BlobArray,
    array_to_blobproto,
    blobproto_to_array,
    encode_blob,
    encoded_size,
    read_blob,
    shapes_match,
)
from .errors import DataError, MissingFileError
from .upgrade import V1_TYPES
from .upgrade_v0 import TYPES as V0_TYPES
from .wire import LENGTH, VARINT, Field, Wire, encode_head, signed

MAX_LAYERS = 100_000
MAX_BLOBS = 1_000
"""Of one layer."""
MAX_BYTES = (1 << 31) - 1
"""Of one file: more does not fit protobuf."""
MAX_STATE_BYTES, MAX_STATE_FIELDS = 16 << 20, 100_000
"""Of a solver state, without its history."""


class _Format(NamedTuple):
    """Field numbers of a layer in one of its formats."""

    name: int
    type: int
    blobs: int


_V0, _V1, _V2 = _Format(1, 2, 50), _Format(4, 5, 6), _Format(1, 2, 7)
_NET_LAYERS, _NET_LAYER, _V1_LAYER = 2, 100, 1
_HISTORY, _STATE_CRC32 = 3, 50005


@dataclass
class LayerWeights:
    """What a file holds of one layer."""

    name: str = ""
    type: str = ""
    blobs: list[BlobArray] = field(default_factory=list)


# Files


def _open(path: str | os.PathLike[str], hint: str) -> Wire:
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise DataError(f"{path}: cannot be read: {error}") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: has more than {MAX_BYTES} bytes", hint="save it as HDF5")
    return Wire(memoryview(data), str(path), hint)


# Weights


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
    wire = _open(path, "is it a binary .caffemodel, completely copied?")
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
    before, after = _split(bare.SerializeToString(), _V2.blobs)
    parts: list[Any] = [before]
    for i, blob in enumerate(blobs):
        body = encode_blob(blob, diffs[i] if diffs is not None else None)
        parts += [encode_head(_V2.blobs, encoded_size(body)), *body]
    return [*parts, after]


def _split(message: bytes, number: int) -> tuple[bytes, bytes]:
    """Split a message where a field of this number belongs; protobuf writes fields in their order."""
    for item in Wire(memoryview(message), "message").fields():
        if item.number > number:
            return message[: item.offset], message[item.offset :]
    return message, b""


# Single blobs: mean images


def read_blobproto(path: str | os.PathLike[str]) -> BlobArray:
    """Read a file with one blob, such as a mean image.

    Raises
    ------
    MissingFileError, DataError
        The file is missing, cannot be read or is damaged.
    """
    wire = _open(path, "is it a .binaryproto, completely copied?")
    return read_blob(wire, 0, len(wire.data))


def write_blobproto(path: str | os.PathLike[str], array: npt.ArrayLike, legacy_dims: bool = False) -> None:
    """Write one blob; `legacy_dims` gives it the four-axis shape that Caffe's own tools write."""
    with open(path, "wb") as stream:
        for part in encode_blob(array, legacy=legacy_dims):
            stream.write(part)


# Solver states


@dataclass
class SolverStateFile:
    """Where training stands."""

    message: Any
    """A `SolverState` without its history."""
    history: list[Array]


def read_solverstate(path: str | os.PathLike[str]) -> SolverStateFile:
    """Read a `.solverstate`.

    Raises
    ------
    MissingFileError, DataError
        The file is missing, cannot be read or is damaged; if it holds a checksum, also if that differs.
    """
    wire = _open(path, "is it a binary .solverstate, completely copied?")
    history: list[Array] = []
    others: list[Field] = []
    for item in wire.fields():
        if item.number != _HISTORY:
            others.append(item)
            if len(others) > MAX_STATE_FIELDS:
                raise wire.error(f"more than {MAX_STATE_FIELDS} fields beside the history", item.offset)
            continue
        wire.expect(item, LENGTH, "a blob")
        if len(history) == MAX_LAYERS:
            raise wire.error(f"more than {MAX_LAYERS} blobs of history", item.offset)
        history.append(read_blob(wire, item.start, item.end).data)
    message = _parse_state(wire, others)
    _check_crc32(wire, others, message)
    return SolverStateFile(message, history)


def _parse_state(wire: Wire, items: list[Field]) -> Any:
    if sum(item.end - item.offset for item in items) > MAX_STATE_BYTES:
        raise wire.error(f"more than {MAX_STATE_BYTES} bytes beside the history", 0)
    try:
        state = schema.SolverState.FromString(b"".join(wire.data[item.offset : item.end] for item in items))
        texts = [state.learned_net, state.solver_type, *(place.layer for place in state.data_position)]
    except (DecodeError, UnicodeError) as error:
        raise wire.error(f"not a solver state: {error}", 0) from None
    if not all(isinstance(text, str) for text in texts):  # bytes: how protobuf returns what is not UTF-8
        raise wire.error("not a solver state: a text is not UTF-8", 0)
    return state


def _check_crc32(wire: Wire, items: list[Field], message: Any) -> None:
    """Compare the checksum, which covers all bytes but its own."""
    if not message.HasField("state_crc32"):
        return
    crc32, start = 0, 0
    for item in items:
        if item.number == _STATE_CRC32:
            crc32 = zlib.crc32(wire.data[start : item.offset], crc32)
            start = item.end
    if zlib.crc32(wire.data[start:], crc32) != message.state_crc32:
        raise wire.error("the checksum differs: the file is damaged", 0)


def solverstate_bytes(message: Any, history: Sequence[npt.ArrayLike], checksum: bool = True) -> bytes:
    """Return a `.solverstate`, as protobuf would write it.

    Parameters
    ----------
    message : SolverState
        All but the history; its own is not written.
    history : sequence of array
        The solver's history blobs, in their order.
    checksum : bool
        Add `state_crc32`, which `read_solverstate` checks. Caffe ignores it.
    """
    bare = schema.SolverState()
    bare.CopyFrom(message)
    bare.ClearField("history")
    bare.ClearField("state_crc32")
    blobs = list(_history_parts(history))
    data = _state_bytes(bare, blobs)
    if not checksum:
        return data
    bare.state_crc32 = zlib.crc32(data)
    return _state_bytes(bare, blobs)


def _history_parts(history: Sequence[npt.ArrayLike]) -> Iterator[Any]:
    for array in history:
        body = encode_blob(array)
        yield encode_head(_HISTORY, encoded_size(body))
        yield from body


def _state_bytes(message: Any, history: list[Any]) -> bytes:
    before, after = _split(message.SerializeToString(), _HISTORY)
    return b"".join([before, *history, after])


__all__ = [
    "BlobArray",
    "LayerWeights",
    "SolverStateFile",
    "Written",
    "array_to_blobproto",
    "blobproto_to_array",
    "read_blobproto",
    "read_solverstate",
    "read_weights",
    "shapes_match",
    "solverstate_bytes",
    "write_blobproto",
    "write_weights",
]
