"""HDF5 files of equally long datasets: lists of them, checks, and rows read as float32."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, DataError, Position, nearest
from .regular_file import read_regular_file, require_regular_file
from .source import Array

MAX_LIST_BYTES = 16 << 20
MOST_LOADED_BYTES = 1 << 30  # of a file's rows as float32; those of a larger one are read as they are needed
_CHUNK_CACHE_BYTES = 64 << 20  # of a dataset that is not loaded, so that a chunk serves many batches
_MOST_SHOWN = 10  # names of datasets in a message


class FileName(NamedTuple):
    """A file that a list names, and where it does."""

    path: bytes
    where: Position

    def error(self, problem: str, kind: type[DataError] = DataError, hint: str | None = None) -> DataError:
        """Word an error about the file."""
        path = self.path.decode(errors="backslashreplace")
        return kind(f"HDF5 file '{path}': {problem}", where=self.where, hint=hint)


def read_file_names(path: str) -> list[FileName]:
    """Read a list of files: names with blanks or line ends between them.

    Raises
    ------
    MissingFileError, DataError
        There is no such list, it cannot be read, or it names nothing.
    """
    try:
        content = read_regular_file(path, MAX_LIST_BYTES)
    except DataError as error:
        raise type(error)(f"list file '{path}': {error.problem}") from None
    lines = enumerate(content.split(b"\n"), 1)
    names = [FileName(name, Position(path, number, 1)) for number, line in lines for name in line.split()]
    if not names:
        hint = "write the path of an HDF5 file in each line"
        raise DataError(f"list file '{path}' names no file", hint=hint)
    return names


def import_h5py() -> Any:
    """Import the package that reads HDF5; not everybody needs it."""
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "HDF5 files are read by the package h5py, which is not installed",
            hint="install it: pip install 'pycaffe-like[hdf5]'",
        ) from None
    return h5py


class Hdf5File:
    """Datasets at the root of a file, checked: numbers, and equally many rows in each.

    Parameters
    ----------
    name : FileName
    datasets : sequence of str

    Attributes
    ----------
    rows : int
        Rows of each dataset.
    row_shapes : list of tuple of int
        Shape of a row of each dataset.

    Raises
    ------
    MissingFileError, DataError
        The file is missing, no HDF5 file, or its datasets are not as they must be.
    """

    def __init__(self, name: FileName, datasets: Sequence[str]) -> None:
        self.name = name
        self._h5py = import_h5py()
        self._file = self._open()
        try:
            self._datasets = [self._find(dataset) for dataset in datasets]
            self.rows = self._count_rows()
        except BaseException:
            self.close()
            raise
        self.row_shapes: list[tuple[int, ...]] = [dataset.shape[1:] for dataset in self._datasets]

    def load(self) -> None:
        """Read all rows into memory, unless they are too many."""
        if self.rows * row_bytes(self.row_shapes) > MOST_LOADED_BYTES:
            return
        loaded = [np.empty(dataset.shape, np.float32) for dataset in self._datasets]
        for dataset, array in zip(self._datasets, loaded):
            self._read(dataset, 0, array)
        self._datasets = loaded
        self.close()

    def read(self, rows: npt.NDArray[np.int64], into: Sequence[Array]) -> None:
        """Copy rows of each dataset into an array."""
        for dataset, array in zip(self._datasets, into):
            if isinstance(dataset, np.ndarray):
                np.take(dataset, rows, axis=0, out=array, mode="clip")  # no row is outside; others are slower
                continue
            done = 0
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
                self._read(dataset, int(run[0]), array[done : done + len(run)])
                done += len(run)

    def close(self) -> None:
        """Let go of the file; what was loaded stays."""
        self._file.close()

    def _open(self) -> Any:
        try:
            require_regular_file(self.name.path)
        except DataError as error:
            raise self.name.error(error.problem, type(error)) from None
        with self._errors("it"):
            return self._h5py.File(os.fsdecode(self.name.path), "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)

    def _find(self, name: str) -> Any:
        """Find a dataset, which must lie in this very file and be of numbers."""
        with self._errors(f"dataset '{name}'"):
            known = list(self._file)
            if name not in known:
                shown = ", ".join(known[:_MOST_SHOWN]) or "nothing"
                hint = nearest(name, known) or f"each top has the name of a dataset; the file holds {shown}"
                raise self.name.error(f"there is no dataset '{name}'", hint=hint)
            if not isinstance(self._file.get(name, getlink=True), self._h5py.HardLink):
                raise self.name.error(f"'{name}' is a link to elsewhere")
            found = self._file[name]
            if not isinstance(found, self._h5py.Dataset):
                raise self.name.error(f"'{name}' is no dataset")
            if found.external or found.is_virtual:
                raise self.name.error(f"the values of dataset '{name}' lie in other files")
            types = self._h5py.h5t
            if found.id.get_type().get_class() not in (types.INTEGER, types.FLOAT):
                raise self.name.error(f"dataset '{name}' holds {found.dtype}, not integers or floats")
            if found.ndim < 1:
                raise self.name.error(f"dataset '{name}' is a single value, it must have rows")
        return found

    def _count_rows(self) -> int:
        counts = {dataset.name[1:]: int(dataset.shape[0]) for dataset in self._datasets}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
            raise self.name.error(f"its datasets must have equally many rows: {listed}")
        return next(iter(counts.values()))

    def _read(self, dataset: Any, first: int, into: Array) -> None:
        """Read rows; HDF5 turns them to float32."""
        with self._errors(f"dataset '{dataset.name[1:]}'"):
            if into.size:
                dataset.read_direct(into, source_sel=np.s_[first : first + len(into)])

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Word what h5py raises, which can be of many kinds."""
        try:
            yield
        except DataError:
            raise
        except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise self.name.error(f"{what} cannot be read: {error}") from None


def row_bytes(shapes: Sequence[tuple[int, ...]]) -> int:
    """Bytes that a row of these shapes, one a dataset, takes as float32."""
    return 4 * sum(map(math.prod, shapes))
