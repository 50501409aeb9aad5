"""The records of a database as a stream of images."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from .. import _core
from ..errors import DataError
from ..weights.formats import image_in
from .lmdb_database import Database, Reader
from .order import Order
from .source import Array, ImageFile, Job, StoredImages
from .transformer import Crops, Transformer

Places = npt.NDArray[np.uint64]


class _Memory(threading.local):
    """Of each thread, for the records of a batch."""

    records: npt.NDArray[np.uint8] = np.empty(0, np.uint8)


class DatabaseImages:
    """Images of a database's records; see `source.Images`.

    Parameters
    ----------
    database : Database
    order : Order, optional
        That of the keys, over and over, when not given.

    Notes
    -----
    A database is a tree of keys and knows no numbers: in order, its records are passed one by one; to shuffle
    them, all keys and places (some 100 bytes a record) are read once.
    """

    def __init__(self, database: Database, order: Order | None = None) -> None:
        self.name = f"database {database.path}"
        self.order = order or Order(len(database))
        self._database = database
        self._reader: Reader | None = None
        self._memory = _Memory()

    def find(self, counters: npt.NDArray[np.int64]) -> Job:
        """See `source.Images.find`."""
        keys, places = self._look_up(counters) if self.order.shuffle else self._read_on(counters)
        return Job(counters, keys, places)

    def _look_up(self, counters: npt.NDArray[np.int64]) -> tuple[list[bytes], Places]:
        keys, places = self._database.index
        records = self.order.records(counters)
        return [keys[record] for record in records.tolist()], places[records]

    def _read_on(self, counters: npt.NDArray[np.int64]) -> tuple[list[bytes], Places]:
        first, last = int(counters[0]), int(counters[-1])
        if last - first + 1 == len(counters):
            return self._reader_at(first).locate(len(counters))
        keys, places = zip(*(self._reader_at(counter).locate(1) for counter in counters.tolist()))
        return [key for (key,) in keys], np.concatenate(places)

    def _reader_at(self, counter: int) -> Reader:
        """Move the reader on to a place of the stream; to one behind it goes a new reader."""
        place = counter + self.order.skip
        if self._reader is None or self._reader.position > place:
            self._reader = Reader(self._database, place)
        if self._reader.position < place:
            self._reader.skip(place - self._reader.position)
        return self._reader

    def load(self, job: Job) -> StoredImages:
        """See `source.Images.load`; the images are valid until this thread's following call."""
        assert job.places is not None
        ends = np.cumsum(job.places[:, 1]).tolist()
        if ends[-1] > len(self._memory.records):
            self._memory.records = np.empty(ends[-1] + ends[-1] // 8, dtype=np.uint8)
        records = self._memory.records
        self._database.read(job.places, records)
        view = records.data
        return _inspect([view[start:end] for start, end in zip([0, *ends], ends)])

    def after(self, record: bytes) -> tuple[bytes, StoredImages]:
        """See `source.Images.after`."""
        key, value = Reader(self._database).after(record)
        return key, _inspect([memoryview(value)])

    def transform(
        self,
        job: Job,
        transformer: Transformer,
        size: tuple[int, int, int],
        crops: Crops,
        data: Array,
        labels: Array,
    ) -> bool:
        """See `source.Images.transform`."""
        assert job.places is not None
        return transformer.transform_stored(self._database, job.places, size, crops, data, labels)

    def complaint(self, record: bytes, problem: str) -> DataError:
        """See `source.Images.complaint`."""
        return DataError(f"{self.name}, key {record.decode(errors='backslashreplace')!r}: {problem}")


def _inspect(values: list[memoryview]) -> StoredImages:
    """Check records, with the headers of those that are encoded."""
    infos, problems = _core.parse_datums(values)
    sizes = np.stack([infos["channels"], infos["height"], infos["width"]], axis=1).tolist()
    files = {}
    for i in np.flatnonzero(infos["encoded"]).tolist():
        start, count = int(infos["data_offset"][i]), int(infos["data_size"][i])
        files[i] = ImageFile(values[i][start : start + count], int(infos["bit_depth"][i]))
    reasons = {index: _reason(values[index], problem) for index, problem in problems}
    return StoredImages(list(values), files, sizes, infos["label"].astype(np.float32), reasons)


def _reason(value: memoryview, problem: str) -> str:
    """Say so where a record is bad because it holds an image file and does not say that it does."""
    image = image_in(bytes(value[:64]))
    return f"its data is {image}, but the record does not set `encoded`" if image else problem
