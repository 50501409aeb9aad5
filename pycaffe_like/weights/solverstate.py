"""Reads and writes `.solverstate` files: where training stands."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from ..errors import DataError
from ..prototxt import schema
from .blobs import Array, blobproto_to_array, encode_blob, encoded_size, read_blob
from .wire import LENGTH, Field, Wire, encode_head, open_wire, split_at

MAX_HISTORY_BLOBS = 100_000
MAX_STATE_BYTES, MAX_STATE_FIELDS = 16 << 20, 100_000
"""Without the history."""

_HISTORY, _STATE_CRC32 = 3, 50005
_RANGES = {
    "iter": (0, 2**31 - 1),
    "current_step": (0, 2**31 - 1),
    "iter_last_event": (0, 2**31 - 1),
    "minimum_loss": (-math.inf, math.inf),  # not NaN
    "thread_count": (1, 2**31 - 1),
    "weights_bytes": (0, 2**63 - 1),
    "weights_crc32": (0, 2**32 - 1),
    "random_seed": (0, 2**63 - 1),
}
_POSITIONS = (0, 2**62)  # room for counters of the records that follow


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
        The file is missing, cannot be read or is damaged; if it holds a checksum, also if that differs. Or a
        field has a value that no run can have written; the error names it.
    """
    wire = open_wire(path, "is it a binary .solverstate, completely copied?")
    history: list[Array] = []
    others: list[Field] = []
    for item in wire.fields():
        if item.number != _HISTORY:
            others.append(item)
            if len(others) > MAX_STATE_FIELDS:
                raise wire.error(f"more than {MAX_STATE_FIELDS} fields beside the history", item.offset)
            continue
        wire.expect(item, LENGTH, "a blob")
        if len(history) == MAX_HISTORY_BLOBS:
            raise wire.error(f"more than {MAX_HISTORY_BLOBS} blobs of history", item.offset)
        history.append(read_blob(wire, item.start, item.end).data)
    message = _parse_state(wire, others)
    _check_crc32(wire, others, message)
    _check_values(wire, message, history)
    return SolverStateFile(message, history)


def _parse_state(wire: Wire, items: list[Field]) -> Any:
    if sum(item.end - item.offset for item in items) > MAX_STATE_BYTES:
        raise wire.error(f"more than {MAX_STATE_BYTES} bytes beside the history", 0)
    try:
        state = schema.SolverState.FromString(b"".join(wire.data[item.offset : item.end] for item in items))
        texts = [state.learned_net, state.solver_type, *(place.layer for place in state.data_position)]
        texts += [entry.layer for entry in state.layer_state]
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


def _check_values(wire: Wire, message: Any, history: Sequence[Array]) -> None:
    """Refuse numbers that no run can have written, by the names of their fields."""
    for field, (low, high) in _RANGES.items():
        value = getattr(message, field)
        if message.HasField(field) and not low <= value <= high:
            raise _bad_field(wire, field, f"{value}, not a number of {low} to {high}")
    if "\0" in message.learned_net:
        raise _bad_field(wire, "learned_net", "a name with a zero byte")
    layers: set[str] = set()
    for place in message.data_position:
        low, high = _POSITIONS
        if not low <= place.record <= high:
            what = f"{place.record} for layer '{place.layer}', not a number of {low} to {high}"
            raise _bad_field(wire, "data_position", what)
        if place.layer in layers:
            raise _bad_field(wire, "data_position", f"given twice for layer '{place.layer}'")
        layers.add(place.layer)
    for number, entry in enumerate(message.layer_state):
        if entry.layer in {other.layer for other in message.layer_state[:number]}:
            raise _bad_field(wire, "layer_state", f"given twice for layer '{entry.layer}'")
        if not all(np.isfinite(blobproto_to_array(blob)).all() for blob in entry.blobs):
            raise _bad_field(wire, "layer_state", f"NaN or infinite for layer '{entry.layer}'")
    if not np.isfinite(message.loss_window).all():
        raise _bad_field(wire, "loss_window", "NaN or infinite")
    for number, array in enumerate(history):
        if not np.isfinite(array).all():
            raise _bad_field(wire, "history", f"NaN or infinite in blob {number}")


def _bad_field(wire: Wire, field: str, problem: str) -> DataError:
    return DataError(f"{wire.file}: {field} is {problem}", hint="resume from another snapshot")


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
    before, after = split_at(message.SerializeToString(), _HISTORY)
    return b"".join([before, *history, after])
