"""Rows of HDF5 files as a source of batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .batch_maker import aligned_array
from .hdf5_file import MOST_LOADED_BYTES, FileName, Hdf5File, row_bytes
from .order import Order
from .source import Array, Batch


class Hdf5Rows:
    """Row i of every dataset is record i; see `source.Source`. For one thread.

    Parameters
    ----------
    names : sequence of FileName
    datasets : sequence of str
        Of every file, one for each array of a batch.
    batch_size : int
        Rows of a batch, which goes on across the ends of files.
    seed : int
        Of the shuffles.
    shuffle : bool
        Whether each epoch has random orders of its own, of the files and of the rows of each file.
    start : int
        Record to begin with.

    Raises
    ------
    MissingFileError, DataError
        As `Hdf5File`, which all are looked at; or rows are not of one shape in all files, or there are none.

    Notes
    -----
    One file is open at a time. Its rows are loaded at once, as in Caffe, or, if they are more than
    `MOST_LOADED_BYTES`, read when a batch needs them.
    """

    def __init__(
        self,
        names: Sequence[FileName],
        datasets: Sequence[str],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        start: int = 0,
    ) -> None:
        self.position = self._next = start
        self._names, self._datasets = names, datasets
        self._batch_size = batch_size
        self._seed, self._shuffle = seed, shuffle
        self._buffers: dict[int, list[Array]] = {}  # by slot
        self._row_shapes: list[tuple[int, ...]] = []  # of the first file
        self._rows = np.array([self._look_at(name) for name in names])
        self._count = int(self._rows.sum())
        if self._count == 0:
            raise names[0].error("neither it nor any other file of the list has rows")
        self._files = Order(len(names), seed, shuffle=shuffle, first=-len(names))
        self._open: tuple[int, Hdf5File, Order] | None = None  # by its index
        self.shapes = [(batch_size, *shape) for shape in self._row_shapes]

    def _look_at(self, name: FileName) -> int:
        """Check a file; returns how many rows it has."""
        file = Hdf5File(name, self._datasets)
        file.close()
        self._row_shapes = self._row_shapes or file.row_shapes
        for dataset, shape, wanted in zip(self._datasets, file.row_shapes, self._row_shapes):
            if shape != wanted:
                raise name.error(f"rows of '{dataset}' have shape {shape}, in the first file {wanted}")
        return file.rows

    @property
    def private_bytes(self) -> int:
        """Size of the largest file that is loaded at once."""
        sizes = self._rows * row_bytes(self._row_shapes)
        return int(np.max(sizes[sizes <= MOST_LOADED_BYTES], initial=0))

    def claim(self) -> int:
        """See `source.Source.claim`; a job is the count of its first record."""
        start = self._next
        self._next += self._batch_size
        return start

    def make(self, job: int, slot: int) -> Batch:
        """See `source.Source.make`."""
        if slot not in self._buffers:
            self._buffers[slot] = [aligned_array(shape) for shape in self.shapes]
        arrays = self._buffers[slot]
        done = 0
        while done < self._batch_size:
            epoch, place = divmod(job + done, self._count)
            index, row = self._find(epoch, place)
            rows = int(self._rows[index])
            count = min(rows - row, self._batch_size - done)
            file, order = self._file(index)
            wanted = order.records(epoch * rows + np.arange(row, row + count))
            file.read(wanted, [array[done : done + count] for array in arrays])
            done += count
        return Batch(tuple(arrays), job, job + self._batch_size)

    def close(self) -> None:
        """See `source.Source.close`."""
        if self._open is not None:
            self._open[1].close()

    def _find(self, epoch: int, place: int) -> tuple[int, int]:
        """Which file stands at a place of an epoch, and how many of its rows stand before."""
        count = len(self._names)
        files = self._files.records(epoch * count + np.arange(count))
        ends = np.cumsum(self._rows[files])
        at = int(np.searchsorted(ends, place, side="right"))
        index = int(files[at])
        return index, place - int(ends[at] - self._rows[index])

    def _file(self, index: int) -> tuple[Hdf5File, Order]:
        """The file of an index, loaded, and the order of its rows."""
        if self._open is None or self._open[0] != index:
            self.close()
            self._open = None  # before the next one takes memory
            file = Hdf5File(self._names[index], self._datasets)
            if (file.rows, file.row_shapes) != (self._rows[index], self._row_shapes):
                raise file.name.error("it has changed since the net was built")
            file.load()
            first = int(self._rows[:index].sum())
            self._open = (index, file, Order(file.rows, self._seed, shuffle=self._shuffle, first=first))
        return self._open[1:]
