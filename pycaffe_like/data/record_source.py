"""The stream of a database's records, cut into jobs of one batch each."""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .lmdb_database import Database, Reader

log = logging.getLogger("caffe")


class Job(NamedTuple):
    """The records of one batch."""

    counters: npt.NDArray[np.int64]
    keys: list[bytes]
    places: npt.NDArray[np.uint64]  # of the values, for `Database.read`


class RecordSource:
    """Hands out jobs in the order of the records; safe to use from several threads.

    Parameters
    ----------
    database : Database
    start : int
        Counter of the first record.
    batch_size : int
        Records a job.
    step : int
        Distance of the counters of a job: the number of solvers that share the database.
    log_restarts : bool
        Whether to log when the database begins again.
    """

    def __init__(
        self, database: Database, start: int, batch_size: int, step: int = 1, *, log_restarts: bool = True
    ) -> None:
        self.database = database
        self._reader = Reader(database, start)
        self._batch_size = batch_size
        self._step = step
        self._log_restarts = log_restarts
        self._lock = threading.Lock()  # a reader takes one thread at a time

    def claim(self) -> Job:
        """Return the next job."""
        with self._lock:
            reader, restarts = self._reader, self._reader.restarts
            counters = reader.position + self._step * np.arange(self._batch_size, dtype=np.int64)
            keys, places = self._locate(reader)
            if self._log_restarts:
                for _ in range(reader.restarts - restarts):
                    log.info("Restarting data prefetching from start.")
        return Job(counters, keys, places)

    def _locate(self, reader: Reader) -> tuple[list[bytes], npt.NDArray[np.uint64]]:
        if self._step == 1:
            return reader.locate(self._batch_size)
        keys, places = [], []
        for _ in range(self._batch_size):
            (key,), place = reader.locate(1)
            keys.append(key)
            places.append(place)
            reader.skip(self._step - 1)
        return keys, np.concatenate(places)

    def after(self, key: bytes) -> tuple[bytes, bytes]:
        """Return the record after `key`."""
        with self._lock:
            return self._reader.after(key)
