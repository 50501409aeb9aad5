"""Walks protobuf's wire format without building messages.

Weights are read this way for three reasons: forks reuse field numbers, so that their files do not parse with
any one schema; protobuf takes far more memory than the file has bytes; and arrays can be used where they lie.
Whatever the bytes are, a walk ends or raises `DataError`, and takes no memory of its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import DataError, MissingFileError
from ..files import read_bytes
from .formats import format_of

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
MAX_NESTING = 100
MAX_BYTES = (1 << 31) - 1
"""Of one file: more does not fit protobuf."""


class Field(NamedTuple):
    """One field: its number, its wire type, and where its value lies.

    For a `VARINT`, `value` is the number; else it is 0 and the bytes from `start` to `end` are the value.
    `offset` is where the tag lies.
    """

    number: int
    kind: int
    value: int
    offset: int
    start: int
    end: int


@dataclass(frozen=True)
class Wire:
    """Bytes in wire format, and the name of the file they came from."""

    data: memoryview
    file: str
    hint: str | None = None

    def error(self, problem: str, offset: int) -> DataError:
        """Word an error at an offset of the file."""
        return DataError(f"{self.file}: byte {offset}: {problem}", hint=self.hint)

    def fields(self, start: int = 0, end: int | None = None) -> Iterator[Field]:
        """Yield the fields of the message between two offsets; groups are passed over.

        Raises
        ------
        DataError
            The bytes are not a message.
        """
        end = len(self.data) if end is None else end
        while field := self.next_field(start, end):
            yield field
            start = field.end

    def next_field(self, start: int, end: int) -> Field | None:
        """Return the field at `start`, or behind the groups there; None at the end."""
        while start < end:
            field = self._field(start, end)
            if field.kind == END_GROUP:
                raise self.error("end of a group that never began", start)
            if field.kind != START_GROUP:
                return field
            start = self._skip_group(field, end)
        return None

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """Return the number that begins at `start`, unsigned, and the offset behind it."""
        value = shift = 0
        for offset in range(start, min(end, start + 10)):
            byte = self.data[offset]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, offset + 1
            shift += 7
        raise self.error("truncated" if end < start + 10 else "number of more than ten bytes", start)

    def text(self, field: Field) -> str:
        """Return a string field."""
        self.expect(field, LENGTH, "a string")
        return bytes(self.data[field.start : field.end]).decode("utf-8", errors="replace")

    def expect(self, field: Field, kind: int, what: str) -> None:
        """Refuse a field that is not of this wire type."""
        if field.kind != kind:
            raise self.error(f"field {field.number} is not {what}", field.offset)

    def run(self, field: Field, end: int) -> int:
        """Return how many fields of fixed size with the same tag stand side by side, from `field` on."""
        size, tag = field.end - field.offset, np.frombuffer(self.data[field.offset : field.start], np.uint8)
        count, step = 0, 64
        while rows := min(step, (end - field.offset) // size - count):
            start = field.offset + count * size
            window = np.frombuffer(self.data, np.uint8, rows * size, start).reshape(rows, size)
            same = (window[:, : len(tag)] == tag).all(axis=1)
            if not same.all():
                return count + int(np.argmin(same))
            count, step = count + rows, step * 2
        return count

    def _field(self, offset: int, end: int) -> Field:
        tag, start = self.varint(offset, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise self.error(f"field number {number}", offset)
        value = 0
        if kind == VARINT:
            value, stop = self.varint(start, end)
        elif kind == LENGTH:
            length, start = self.varint(start, end)
            stop = start + length
        elif kind in (FIXED32, FIXED64):
            stop = start + (4 if kind == FIXED32 else 8)
        elif kind in (START_GROUP, END_GROUP):
            stop = start
        else:
            raise self.error(f"wire type {kind}", offset)
        if stop > end:
            raise self.error(f"truncated: a field needs {stop - start} bytes, {end - start} are left", offset)
        return Field(number, kind, value, offset, start, stop)

    def _skip_group(self, group: Field, end: int) -> int:
        """Return the offset behind a group."""
        open_groups, start = [group.number], group.end
        while open_groups and start < end:
            field = self._field(start, end)
            start = field.end
            if field.kind == START_GROUP:
                open_groups.append(field.number)
            elif field.kind == END_GROUP and open_groups.pop() != field.number:
                raise self.error("groups that overlap", field.offset)
            if len(open_groups) > MAX_NESTING:
                raise self.error(f"groups nested more than {MAX_NESTING} deep", field.offset)
        if open_groups:
            raise self.error("truncated: a group does not end", group.offset)
        return start


def signed(value: int) -> int:
    """Return a number read by `Wire.varint` as int32 or int64 mean it."""
    return value - (1 << 64) if value >> 63 else value


def encode_varint(value: int) -> bytes:
    """Return a number in wire format; negative ones take ten bytes."""
    value &= 0xFFFFFFFFFFFFFFFF
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def encode_head(number: int, length: int) -> bytes:
    """Return what stands before the bytes of a string, message or packed field."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(length)


def split_at(message: bytes, number: int) -> tuple[bytes, bytes]:
    """Split a message where a field of this number belongs; protobuf writes fields in their order."""
    for item in Wire(memoryview(message), "message").fields():
        if item.number > number:
            return message[: item.offset], message[item.offset :]
    return message, b""


def open_wire(path: str | os.PathLike[str], hint: str) -> Wire:
    """Read a whole file. `hint` is what the user should look at when it is damaged."""
    try:
        data = read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        too_long = "save it as HDF5" if error.errno == errno.EFBIG else None
        raise DataError(f"{path}: cannot be read: {error.strerror}", hint=too_long) from None
    if known := format_of(data):
        what, hint = known
        raise DataError(f"{path}: is {what}, not binary protobuf", hint=hint or None)
    return Wire(memoryview(data), str(path), hint)
