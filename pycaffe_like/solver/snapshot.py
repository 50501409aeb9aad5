"""Snapshots that survive a kill, a power cut or a full disk at any moment.

A snapshot is a pair: weights (`.caffemodel`) and solver state (`.solverstate`). Both are first written to
temporary files and flushed to the disk; then the weights get their name, then the state. The state is the
commit point: it names size and CRC-32 of its weights, so a pair is complete or is refused. Old pairs are
never touched.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, DataError, MissingFileError, WriteError
from ..files import create_temporary, open_regular, remove_leftovers
from ..graph import trained_weights
from ..graph.nodes import Graph
from ..prototxt import schema
from ..weights.blobs import array_to_blobproto, blobproto_to_array
from ..weights.solverstate import read_solverstate, solverstate_bytes

log = logging.getLogger("caffe")

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SnapshotPaths:
    """Names of a pair, as Caffe forms them."""

    weights: str
    state: str

    @classmethod
    def of(cls, prefix: str, iteration: int) -> SnapshotPaths:
        """Names of the pair that is written after `iteration` updates."""
        stem = f"{prefix}_iter_{iteration}"
        return cls(f"{stem}.caffemodel", f"{stem}.solverstate")


class PendingFile:
    """A file that appears under its name only when all of it is on the disk.

    Attributes
    ----------
    bytes, crc32 : int
        Of what has been written so far.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.bytes = 0
        self.crc32 = 0
        remove_leftovers(path)
        self._descriptor, self.temporary = create_temporary(path)

    def write(self, data: bytes | memoryview) -> None:
        """Append; the system may take the data in pieces."""
        view = memoryview(data).cast("B")
        self.bytes += len(view)
        self.crc32 = zlib.crc32(view, self.crc32)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def flush(self) -> None:
        """Bring everything to the disk and close. An fsync that fails is not repeated: its data is lost."""
        os.fsync(self._descriptor)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def commit(self) -> None:
        """Give the file its name, and bring the name to the disk."""
        os.rename(self.temporary, self.path)
        self.temporary = ""
        sync_folder(self.path)

    def discard(self) -> None:
        """Remove what has not been committed. Never fails: it runs while another error is on its way."""
        try:
            if self._descriptor >= 0:
                os.close(self._descriptor)
        except OSError:
            pass
        try:
            if self.temporary:
                os.unlink(self.temporary)
        except OSError:
            pass


def sync_folder(path: str) -> None:
    """Bring the entries of a file's folder to the disk."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_snapshot(
    paths: SnapshotPaths, graph: Graph, state: Any, history: Sequence[Array], *, diffs: bool = False
) -> None:
    """Write a pair.

    Parameters
    ----------
    paths : SnapshotPaths
    graph : Graph
        Whose weights are written.
    state : SolverState
        Without history and what it says about the weights file.
    history : sequence of array
        The solver's history.
    diffs : bool
        Write the gradients along with the weights.

    Raises
    ------
    DataError
        The weights hold NaN or Inf.
    WriteError
        The disk refuses. Earlier snapshots are as they were, and no temporary file is left.
    """
    require_finite(graph, history)
    pending: list[PendingFile] = []

    def start(path: str) -> PendingFile:
        pending.append(PendingFile(path))
        return pending[-1]

    try:
        log.info("Snapshotting to binary proto file %s", paths.weights)
        weights = start(paths.weights)
        trained_weights.write(graph, weights, diffs=diffs)
        weights.flush()
        log.info("Snapshotting solver state to binary proto file %s", paths.state)
        state.learned_net = paths.weights
        state.weights_bytes, state.weights_crc32 = weights.bytes, weights.crc32
        state_file = start(paths.state)
        state_file.write(solverstate_bytes(state, history))
        state_file.flush()
        weights.commit()
        state_file.commit()
    except OSError as error:
        if isinstance(error, DataError):
            raise
        hint = (
            "earlier snapshots are unharmed; free space or check the folder of snapshot_prefix, then resume"
        )
        raise WriteError(f"cannot write snapshot '{paths.state}': {error.strerror}", hint=hint) from error
    finally:
        for file in pending:
            file.discard()


def require_finite(graph: Graph, history: Iterable[Array]) -> None:
    """Refuse NaN and Inf in what a snapshot would hold."""
    for param in graph.learnable:
        if not np.isfinite(param.blob.data).all():
            hint = "training has diverged: resume from an earlier snapshot with a smaller base_lr"
            raise DataError(
                f"blob {param.index} holds NaN or Inf; no snapshot is written", layer=param.layer, hint=hint
            )
    for number, array in enumerate(history):
        if not np.isfinite(array).all():
            raise DataError(f"history blob {number} of the solver holds NaN or Inf; no snapshot is written")


def snapshot_error_policy() -> str:
    """What training does when the disk refuses a snapshot, by the variable CAFFE_ON_SNAPSHOT_ERROR."""
    policy = os.environ.get("CAFFE_ON_SNAPSHOT_ERROR", "continue")
    if policy not in ("continue", "stop"):
        raise ConfigError(f"CAFFE_ON_SNAPSHOT_ERROR must be continue or stop, got {policy!r}")
    return policy


def probe(prefix: str) -> None:
    """Check that snapshots can be written, before any time is spent on training.

    Raises
    ------
    ConfigError
        With the prefix and the reason.
    """
    path = f"{prefix}_iter_0"
    try:
        remove_leftovers(path)
        descriptor, name = create_temporary(path)
        os.close(descriptor)
        os.unlink(name)
    except OSError as error:
        folder = os.path.dirname(prefix)
        missing = folder and not os.path.isdir(folder)
        hint = f"create the folder '{folder}'" if missing else "set snapshot_prefix"
        if not os.path.isabs(prefix):
            hint += f"; the path is relative to the working directory, {os.getcwd()}"
        raise ConfigError(
            f"cannot write to snapshot_prefix '{prefix}': {error.strerror}", hint=hint
        ) from error


@dataclass(frozen=True)
class LoadedState:
    """A solver state that was read and whose weights were checked.

    Attributes
    ----------
    message : SolverState
        Without its history.
    history : list of array
    weights : str or None
        Path of the weights; None if the state names none.
    """

    message: Any
    history: list[Array]
    weights: str | None


def read_snapshot(path: str) -> LoadedState:
    """Read a solver state and find its weights.

    The path that the state names counts from the current folder, as in Caffe; when no such file is there, or
    another one, the state's own folder is searched.

    Raises
    ------
    MissingFileError, DataError
        A file is missing or damaged, or the weights are not those that the state was written with.
    ConfigError
        The state is in HDF5.
    """
    if path.endswith(".h5"):
        raise ConfigError(
            f"'{path}' is an HDF5 solver state, which is not supported", hint="use a binary .solverstate"
        )
    file = read_solverstate(path)
    return LoadedState(file.message, file.history, _find_weights(file.message, path))


def _find_weights(state: Any, state_path: str) -> str | None:
    if not state.learned_net:
        return None
    beside = os.path.join(os.path.dirname(state_path), os.path.basename(state.learned_net))
    found = [path for path in (state.learned_net, beside) if os.path.isfile(path)]
    if not found:
        hint = f"put it beside '{state_path}'"
        raise MissingFileError(
            f"'{state.learned_net}', the weights of '{state_path}', does not exist", hint=hint
        )
    for path in found:
        if _is_file_of(state, path):
            return path
    raise DataError(
        f"'{found[-1]}' is not the weights file that '{state_path}' was written with: "
        "its size or checksum differs",
        hint="resume from another snapshot",
    )


def _is_file_of(state: Any, path: str) -> bool:
    """Tell whether size and CRC-32 are those that the state names; states of Caffe name none."""
    if state.HasField("weights_bytes") and os.path.getsize(path) != state.weights_bytes:
        return False
    return not state.HasField("weights_crc32") or _file_crc32(path) == state.weights_crc32


def _file_crc32(path: str) -> int:
    crc32 = 0
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32


def set_positions(state: Any, positions: dict[str, int]) -> None:
    """Save how many records each data layer has delivered."""
    for layer, record in positions.items():
        state.data_position.append(schema.DataPosition(layer=layer, record=record))


def get_positions(state: Any) -> dict[str, int]:
    """Read what `set_positions` saved."""
    return {entry.layer: entry.record for entry in state.data_position}


def set_states(state: Any, states: dict[str, list[Array]]) -> None:
    """Save what layers carry from one forward to the next."""
    for layer, arrays in states.items():
        blobs = [array_to_blobproto(array) for array in arrays]
        state.layer_state.append(schema.LayerState(layer=layer, blobs=blobs))


def get_states(state: Any) -> dict[str, list[Array]]:
    """Read what `set_states` saved."""
    return {entry.layer: [blobproto_to_array(blob) for blob in entry.blobs] for entry in state.layer_state}


def check_history(stored: Sequence[Array], own: Sequence[Any], path: str) -> None:
    """Refuse a history of another net or another kind of solver.

    Parameters
    ----------
    stored : sequence of array
    own : sequence of core.Blob
    path : str
        File of the stored one.
    """
    if len(stored) != len(own):
        hint = "it was written for another net or another solver type"
        raise ConfigError(
            f"'{path}' holds {len(stored)} history blobs, this solver has {len(own)}", hint=hint
        )
    for number, (array, blob) in enumerate(zip(stored, own)):
        # Files of old Caffes pad shapes with ones to four axes.
        if [dim for dim in array.shape if dim != 1] != [dim for dim in blob.shape if dim != 1]:
            raise ConfigError(
                f"history blob {number} of '{path}' has shape {array.shape}, not {tuple(blob.shape)}",
                hint="it was written for another net",
            )
