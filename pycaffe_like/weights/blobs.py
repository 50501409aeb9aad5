"""Blobs in wire format: BlobProto to arrays and back, in all the forms that Caffe and its forks wrote.

Reading is zero-copy where the file holds packed floats: such arrays are read-only and may be unaligned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..prototxt import schema
from .wire import FIXED32, FIXED64, LENGTH, VARINT, Field, Wire, encode_head, signed

MAX_AXES = 32
MAX_COUNT = (1 << 31) - 1

Array = npt.NDArray[np.float32]

_LEGACY = {1: 0, 2: 1, 3: 2, 4: 3}  # num, channels, height, width
_DATA, _DIFF, _SHAPE, _DOUBLE_DATA, _DOUBLE_DIFF, _RAW_TYPE, _RAW_DIFF_TYPE, _RAW_DATA, _RAW_DIFF = range(
    5, 14
)
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2", 3: "<i4", 4: "<u4"}  # of NVIDIA's enum Type


@dataclass(frozen=True)
class BlobArray:
    """A blob's values, with its shape."""

    shape: tuple[int, ...]
    legacy: bool
    """The shape is the old form: always four axes, missing ones 1."""
    data: Array
    diff: Array | None = None


def shapes_match(blob: BlobArray, target_shape: Sequence[int]) -> bool:
    """Tell whether a stored blob fits a blob of a net.

    A legacy shape is compared aligned to the right: (1, 1, 1, 10) fits (10,). A new one must be equal.
    """
    target = tuple(target_shape)
    if blob.legacy:
        return len(target) <= 4 and (1,) * (4 - len(target)) + target == blob.shape
    return target == blob.shape


def read_blob(wire: Wire, start: int, end: int) -> BlobArray:
    """Read a BlobProto from its bytes.

    Raises
    ------
    DataError
        The bytes are no BlobProto, the shape is over a limit, or the number of values is not that of the
        shape.
    """
    parts = _Parts(wire, start)
    while field := wire.next_field(start, end):
        start = parts.take(field, end)
    return parts.blob()


class _Parts:
    """What has been read of a blob."""

    def __init__(self, wire: Wire, offset: int) -> None:
        self.wire = wire
        self.offset = offset
        self.legacy: list[int] | None = None
        self.dims: list[int] = []
        self.values: dict[int, list[npt.NDArray[Any]]] = {}
        self.raw_types = {_RAW_TYPE: 0, _RAW_DIFF_TYPE: 0}

    def take(self, field: Field, end: int) -> int:
        """Take one field, or a run of them, and return the offset behind."""
        number = field.number
        if number in _LEGACY:
            self.wire.expect(field, VARINT, "a number")
            self.legacy = self.legacy or [0, 0, 0, 0]
            self.legacy[_LEGACY[number]] = signed(field.value)
        elif number == _SHAPE:
            self.wire.expect(field, LENGTH, "a shape")
            self.dims += _read_dims(self.wire, field)
        elif number in (_DATA, _DIFF):
            return self._take_values(field, end, FIXED32, "<f4")
        elif number in (_DOUBLE_DATA, _DOUBLE_DIFF):
            return self._take_values(field, end, FIXED64, "<f8")
        elif number in self.raw_types and field.kind == VARINT:
            self.raw_types[number] = field.value
        elif number in (_RAW_DATA, _RAW_DIFF) and field.kind == LENGTH:
            self.values[number] = [np.frombuffer(self.wire.data[field.start : field.end], np.uint8)]
        return field.end

    def _take_values(self, field: Field, end: int, unpacked_kind: int, dtype: str) -> int:
        values = self.values.setdefault(field.number, [])
        size = np.dtype(dtype).itemsize
        if field.kind == LENGTH:
            if (field.end - field.start) % size:
                raise self.wire.error(f"values take no multiple of {size} bytes", field.offset)
            values.append(np.frombuffer(self.wire.data[field.start : field.end], dtype))
            return field.end
        self.wire.expect(field, unpacked_kind, "a list of values")
        count, stride = self.wire.run(field, end), field.end - field.offset
        rows = np.frombuffer(self.wire.data, np.uint8, count * stride, field.offset).reshape(count, stride)
        values.append(np.ascontiguousarray(rows[:, stride - size :]).view(dtype).ravel())
        return field.offset + count * stride

    def blob(self) -> BlobArray:
        shape = tuple(self.legacy if self.legacy is not None else self.dims)
        count = self._checked_count(shape)
        data = self._array(_DATA, _DOUBLE_DATA, _RAW_DATA, _RAW_TYPE)
        if data.size != count:
            raise self.wire.error(f"a blob of shape {shape} holds {data.size} values", self.offset)
        diff = self._array(_DIFF, _DOUBLE_DIFF, _RAW_DIFF, _RAW_DIFF_TYPE)
        return BlobArray(
            shape,
            self.legacy is not None,
            data.reshape(shape),
            diff.reshape(shape) if diff.size == count and count else None,
        )

    def _checked_count(self, shape: tuple[int, ...]) -> int:
        if len(shape) > MAX_AXES:
            raise self.wire.error(f"a blob has {len(shape)} axes, more than {MAX_AXES}", self.offset)
        if any(not 0 <= size <= MAX_COUNT for size in shape) or math.prod(shape) > MAX_COUNT:
            raise self.wire.error(f"a blob cannot have shape {shape}", self.offset)
        return math.prod(shape)

    def _array(self, single: int, double: int, raw: int, raw_type: int) -> Array:
        """Join the values: doubles win over floats, as in Caffe; raw bytes count if there is nothing else."""
        for number in (double, single):
            values = [part for part in self.values.get(number, ()) if part.size]
            if values:
                joined = values[0] if len(values) == 1 else np.concatenate(values)
                return _to_float32(joined)
        if raw not in self.values:
            return np.empty(0, np.float32)
        return self._raw_array(self.values[raw][0], self.raw_types[raw_type])

    def _raw_array(self, values: npt.NDArray[Any], raw_type: int) -> Array:
        if raw_type not in _RAW_TYPES:
            raise self.wire.error(f"values of unknown type {raw_type}", self.offset)
        dtype = np.dtype(_RAW_TYPES[raw_type])
        if values.size % dtype.itemsize:
            raise self.wire.error(f"values take no multiple of {dtype.itemsize} bytes", self.offset)
        return _to_float32(values.view(dtype))


def _to_float32(values: npt.NDArray[Any]) -> Array:
    with np.errstate(over="ignore"):  # a double beyond float's range becomes infinite, as in Caffe
        return values.astype(np.float32, copy=False)


def _read_dims(wire: Wire, shape: Field) -> list[int]:
    dims: list[int] = []
    for field in wire.fields(shape.start, shape.end):
        if field.number != 1:
            continue
        if field.kind == VARINT:
            dims.append(signed(field.value))
            continue
        wire.expect(field, LENGTH, "a list of sizes")
        start = field.start
        while start < field.end and len(dims) <= MAX_AXES:
            value, start = wire.varint(start, field.end)
            dims.append(signed(value))
    return dims[: MAX_AXES + 1]


def encode_blob(data: npt.ArrayLike, diff: npt.ArrayLike | None = None, legacy: bool = False) -> list[Any]:
    """Return the bytes of a BlobProto, in parts; the values stay where they are.

    The parts joined are what protobuf would write for float data and, unless `legacy`, the new-style shape.
    """
    values = np.ascontiguousarray(data, "<f4")
    shape = np.shape(data)
    parts: list[Any] = []
    if legacy:
        sizes = schema.BlobProto()
        sizes.num, sizes.channels, sizes.height, sizes.width = (1,) * (4 - len(shape)) + shape
        parts.append(sizes.SerializeToString())
    parts += _encode_values(_DATA, values)
    if diff is not None:
        parts += _encode_values(_DIFF, np.ascontiguousarray(diff, "<f4"))
    if shape and not legacy:
        dims = schema.BlobShape(dim=shape).SerializeToString()
        parts += [encode_head(_SHAPE, len(dims)), dims]
    return parts


def _encode_values(number: int, values: Array) -> list[Any]:
    if not values.size:
        return []
    return [encode_head(number, values.nbytes), values.reshape(-1).view(np.uint8).data]


def encoded_size(parts: Iterable[Any]) -> int:
    """Return how many bytes the parts have."""
    return sum(len(part) for part in parts)


def blobproto_to_array(blob: Any, return_diff: bool = False) -> Array:
    """Return the data, or the diff, of a BlobProto message as an array.

    Raises
    ------
    DataError
        The number of values is not that of the shape.
    """
    wire = Wire(memoryview(blob.SerializeToString()), "BlobProto")
    array = read_blob(wire, 0, len(wire.data))
    if not return_diff:
        return np.array(array.data)
    if array.diff is None:
        raise wire.error("the blob has no diff", 0)
    return np.array(array.diff)


def array_to_blobproto(array: npt.ArrayLike, diff: npt.ArrayLike | None = None) -> Any:
    """Return an array, and a diff of the same shape, as a BlobProto message."""
    return schema.BlobProto.FromString(b"".join(encode_blob(np.asarray(array), diff)))
