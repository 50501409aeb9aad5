"""Batches of a database, prepared ahead by background threads.

Everything about a batch (its records, crops and mirrors) is a function of the counter of its first record. So
a run resumes at the exact record, and any number of threads makes the same batches.
"""

from __future__ import annotations

import weakref

from ..errors import ConfigError
from .batch_maker import BadRecordPolicy, Batch, BatchMaker, Layout
from .lmdb_database import Database, Reader
from .prefetcher import Prefetcher
from .record_source import RecordSource
from .transformer import Transformer

__all__ = ["Batch", "DataLoader"]


class DataLoader:
    """Reads a database in order, over and over, and hands out transformed batches.

    Parameters
    ----------
    database : Database
    transformer : Transformer
    batch_size : int
        Records a batch, >= 1. Batches are always full and go on across the end of the database.
    prefetch : int, default 4
        Batches made ahead, >= 1.
    start_record : int, default 0
        Counter of the record to begin with: `position` of an earlier loader resumes there.
    layout : {"channels_last", "plain"}
        Order of the data in memory; the shape is (N, C, H, W) either way.
    with_label : bool, default True
        Whether batches have labels.
    on_bad_record : {"error", "skip"}
        `skip` logs the record, takes the next good one in its place and gives up when more than 1 % of the
        database's records are bad.
    threads : int, default 1
        More help when images have to be decoded.
    solver_rank, solver_count : int
        With several solvers, each reads the records whose counter is its rank modulo their number. In TEST
        phase leave the defaults: every solver reads all.

    Attributes
    ----------
    shape : tuple of int
        (N, C, H, W) of a batch whose images are like the first record's.
    position : int
        Counter of the first record of the batch that `next` returns.

    Raises
    ------
    ConfigError
        A parameter is out of range, or the transformation does not fit the first image.
    DataError
        The first record is bad.

    Notes
    -----
    Each batch takes its shape from its first image; images of the batch that do not fit are bad records.
    """

    def __init__(
        self,
        database: Database,
        transformer: Transformer,
        batch_size: int,
        *,
        prefetch: int = 4,
        start_record: int = 0,
        layout: Layout = "channels_last",
        with_label: bool = True,
        on_bad_record: BadRecordPolicy = "error",
        threads: int = 1,
        solver_rank: int = 0,
        solver_count: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("prefetch", prefetch), ("threads", threads)):
            if value < 1:
                raise ConfigError(f"{name} must be an int >= 1, got {value}")
        if not 0 <= solver_rank < solver_count:
            raise ConfigError(f"solver_rank must be in 0 .. {solver_count - 1}, got {solver_rank}")
        self._stride = batch_size * solver_count
        self.position = start_record + (solver_rank - start_record) % solver_count
        log_restarts = solver_rank == 0
        source = RecordSource(database, self.position, batch_size, solver_count, log_restarts=log_restarts)
        maker = BatchMaker(source, transformer, on_bad_record, layout, prefetch + 1, with_label)
        self.shape = (batch_size, *maker.probe_shape(*Reader(database, self.position).next()))
        self._prefetcher = Prefetcher(source.claim, maker.make, prefetch + 1, threads)
        # The threads hold no reference to the loader, so one that is forgotten stops them as well.
        self._finalizer = weakref.finalize(self, self._prefetcher.close)

    def next(self) -> Batch:
        """Return the next batch, waiting for it if need be.

        Raises
        ------
        DataError
            A record of the batch is bad; the message names database and key.
        """
        batch = self._prefetcher.next()
        self.position = batch.record + self._stride
        return batch

    def close(self) -> None:
        """Stop the threads. Batches stay readable; `next` does not work any more."""
        self._finalizer()

    def __enter__(self) -> DataLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
