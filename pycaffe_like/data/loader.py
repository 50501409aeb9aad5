"""Batches of any source, prepared ahead by background threads.

Everything about a batch is a function of the number of records delivered before it (see `source`). So a run
resumes at the exact record, and any number of threads makes the same batches.
"""

from __future__ import annotations

import math
import weakref

from ..errors import ConfigError
from .batch_maker import BadRecordPolicy, BatchMaker, Layout
from .prefetcher import Prefetcher
from .source import Batch, Images, Source
from .transformer import Transformer

__all__ = ["Batch", "DataLoader", "image_loader"]


class DataLoader:
    """Hands out the batches of a source.

    Parameters
    ----------
    source : Source
    prefetch : int, default 4
        Batches made ahead, >= 1.
    threads : int, default 1
        Of which no more than `prefetch` + 1 have anything to do.

    Attributes
    ----------
    shapes : sequence of tuple of int
        Shapes of the arrays of the first batch.
    position : int
        Records delivered: a source opened there goes on with the batch that `next` returns.
    private_bytes : int
        Size of the batches made ahead, the one in use not included, and of what the source keeps.
    """

    def __init__(self, source: Source, *, prefetch: int = 4, threads: int = 1) -> None:
        require_positive(prefetch=prefetch, threads=threads)
        self.shapes = source.shapes
        self.position = source.position
        self.private_bytes = prefetch * 4 * sum(map(math.prod, source.shapes)) + source.private_bytes
        self._prefetcher = Prefetcher(source.claim, source.make, prefetch + 1, min(threads, prefetch + 1))
        # The threads hold no reference to the loader, so one that is forgotten stops them as well.
        self._finalizer = weakref.finalize(self, _close, self._prefetcher, source)

    def next(self) -> Batch:
        """Return the next batch, waiting for it if need be.

        Raises
        ------
        DataError
            A record of the batch is bad; the message names it.
        """
        batch = self._prefetcher.next()
        self.position = batch.end
        return batch

    def close(self) -> None:
        """Stop the threads. Batches stay readable; `next` does not work any more."""
        self._finalizer()

    def __enter__(self) -> DataLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(prefetcher: Prefetcher[object, Batch], source: Source) -> None:
    prefetcher.close()
    source.close()


def image_loader(
    images: Images,
    transformer: Transformer,
    batch_size: int,
    *,
    prefetch: int = 4,
    threads: int = 1,
    start_record: int = 0,
    layout: Layout = "channels_last",
    with_label: bool = True,
    on_bad_record: BadRecordPolicy = "error",
    solver_rank: int = 0,
    solver_count: int = 1,
) -> DataLoader:
    """Load transformed batches of images; batches are (data, label), or (data,).

    Parameters
    ----------
    images : Images
    transformer : Transformer
    batch_size : int
        Records a batch, >= 1. Batches are always full and go on across the end of the images.
    prefetch, threads : int
        See `DataLoader`; more threads help when images have to be decoded.
    start_record : int, default 0
        Record to begin with: `position` of an earlier loader resumes there.
    layout : {"channels_last", "plain"}
        Order of the data in memory; the shape is (N, C, H, W) either way.
    with_label : bool, default True
        Whether batches have labels.
    on_bad_record : {"error", "skip"}
        `skip` logs the record, takes the next good one in its place and gives up when more than 1 % of all
        records are bad.
    solver_rank, solver_count : int
        With several solvers, each reads the records whose counter is its rank modulo their number. In TEST
        phase leave the defaults: every solver reads all.

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
    require_positive(batch_size=batch_size)
    if not 0 <= solver_rank < solver_count:
        raise ConfigError(f"solver_rank must be in 0 .. {solver_count - 1}, got {solver_rank}")
    maker = BatchMaker(
        images,
        transformer,
        batch_size,
        start=start_record + (solver_rank - start_record) % solver_count,
        step=solver_count,
        layout=layout,
        with_label=with_label,
        on_bad_record=on_bad_record,
        log_restarts=solver_rank == 0,
    )
    return DataLoader(maker, prefetch=prefetch, threads=threads)


def require_positive(**numbers: int) -> None:
    """Refuse numbers below 1, by name."""
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} must be an int >= 1, got {number}")
