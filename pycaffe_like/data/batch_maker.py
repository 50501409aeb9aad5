"""From the raw records of a job to a batch: check, decode, replace what is bad, transform."""

from __future__ import annotations

import logging
import threading
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _core
from ..errors import ConfigError, DataError
from .lmdb_database import Database
from .record_source import Job, RecordSource
from .transformer import Transformer

log = logging.getLogger("caffe")

Layout = Literal["channels_last", "plain"]
BadRecordPolicy = Literal["error", "skip"]

_ALIGNMENT_BYTES = 64
_MOST_BAD = 0.01  # of the records of a database


class Batch(NamedTuple):
    """A batch; its arrays are valid until the following call of `DataLoader.next`."""

    data: npt.NDArray[np.float32]  # logical shape (N, C, H, W)
    label: npt.NDArray[np.float32] | None  # shape (N,)
    record: int  # counter of the first record


def aligned_batch(shape: tuple[int, int, int, int], layout: Layout) -> npt.NDArray[np.float32]:
    """Allocate a batch of logical shape (N, C, H, W), aligned for vector instructions."""
    count = int(np.prod(shape))
    raw = np.empty(4 * count + _ALIGNMENT_BYTES, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    flat = raw[start : start + 4 * count].view(np.float32)
    n, c, h, w = shape
    return (
        flat.reshape(n, h, w, c).transpose(0, 3, 1, 2) if layout == "channels_last" else flat.reshape(shape)
    )


class BadRecords:
    """What to do about bad records, and the count of them."""

    def __init__(self, database: Database, policy: BadRecordPolicy) -> None:
        self._database = database
        self._policy = policy
        self._keys: set[bytes] = set()
        self._lock = threading.Lock()

    def report(self, key: bytes, problem: str) -> None:
        """Log a record to be skipped, once; raise if none may be, or if they are too many."""
        if self._policy == "error":
            raise DataError(
                self._locate(key, problem), hint="repair the record, or skip bad records (on_bad_record)"
            )
        with self._lock:
            if key in self._keys:
                return
            self._keys.add(key)
            bad, entries = len(self._keys), len(self._database)
        log.warning(
            "Skipping record: %s (%d of %d records skipped)", self._locate(key, problem), bad, entries
        )
        if bad > _MOST_BAD * entries:
            raise DataError(
                f"{bad} of the {entries} records of database {self._database.path} are bad, more than "
                f"{_MOST_BAD:.0%}; the last one: {self._locate(key, problem)}",
                hint="make the database anew; the log names each bad record",
            )

    def _locate(self, key: bytes, problem: str) -> str:
        return f"database {self._database.path}, key {key.decode(errors='backslashreplace')!r}: {problem}"


class _Images(NamedTuple):
    """The images of a job: records as they are, or arrays where they were encoded."""

    items: list[Any]
    sizes: npt.NDArray[np.int64]  # one row an image: channels, height, width
    labels: npt.NDArray[np.float32]
    problems: dict[int, str]  # of the images that cannot be used


class BatchMaker:
    """Turns jobs into batches, in buffers of its own; one thread a slot may work at a time.

    Parameters
    ----------
    source : RecordSource
        Where to find replacements for bad records.
    transformer : Transformer
    on_bad_record : {"error", "skip"}
        In place of a bad record stands the next good one. So which records a batch covers does not depend on
        what was skipped before.
    layout : {"channels_last", "plain"}
        Order of the data in memory.
    slots : int
        Number of buffers.
    with_label : bool, default True
        Whether batches have labels.
    """

    def __init__(
        self,
        source: RecordSource,
        transformer: Transformer,
        on_bad_record: BadRecordPolicy,
        layout: Layout,
        slots: int,
        with_label: bool = True,
    ) -> None:
        self._source = source
        self._transformer = transformer
        self._bad_records = BadRecords(source.database, on_bad_record)
        self._layout = layout
        self._with_label = with_label
        self._buffers: list[npt.NDArray[np.float32] | None] = [None] * slots
        self._said_not_encoded = False

    def probe_shape(self, key: bytes, value: bytes) -> tuple[int, int, int]:
        """Return the shape (C, H, W) that this record, or else the next good one, gets."""
        images = self._load([value])
        while images.problems:
            self._bad_records.report(key, images.problems[0])
            key, value = self._source.after(key)
            images = self._load([value])
        return self._output_shape(images, 0)

    def make(self, job: Job, slot: int) -> Batch:
        """Make a batch in the buffer of a slot."""
        images = self._load(job.values)
        shape = self._mend(images, job.keys)
        data = self._buffer(slot, (len(job.keys), *shape))
        crops = self._transformer.draw_crops(job.counters, images.sizes[:, 1], images.sizes[:, 2])
        for i, problem in self._transformer.transform(images.items, crops, data):
            raise DataError(f"database {self._source.database.path}, key {job.keys[i]!r}: {problem}")
        return Batch(data, images.labels if self._with_label else None, int(job.counters[0]))

    def _load(self, values: list[bytes]) -> _Images:
        """Check records and decode those that are encoded."""
        infos, problem_list = _core.parse_datums(values)
        problems = dict(problem_list)
        items: list[Any] = list(values)
        sizes = np.stack([infos["channels"], infos["height"], infos["width"]], axis=1).astype(np.int64)
        for i in np.flatnonzero(infos["encoded"]):
            start, count = int(infos["data_offset"][i]), int(infos["data_size"][i])
            try:
                file = memoryview(values[i])[start : start + count]
                image = self._transformer.decode(file, int(infos["bit_depth"][i]))
            except ValueError as error:
                problems[int(i)] = str(error)
                continue
            items[i] = image
            sizes[i] = image.shape[2], image.shape[0], image.shape[1]
        if self._transformer.forces_channels and not self._said_not_encoded and not infos["encoded"].all():
            self._said_not_encoded = True
            log.error("force_color and force_gray have no effect on records that are not encoded")
        return _Images(items, sizes, infos["label"].astype(np.float32), problems)

    def _mend(self, images: _Images, keys: list[bytes]) -> tuple[int, int, int]:
        """Replace images that are bad or do not fit the first one; return the shape they all get."""
        shape = self._mend_one(images, 0, keys[0], None)
        odd = (images.sizes != images.sizes[0]).any(axis=1)
        for i in sorted({*images.problems, *np.flatnonzero(odd).tolist()} - {0}):
            self._mend_one(images, i, keys[i], shape)
        return shape

    def _mend_one(
        self, images: _Images, i: int, key: bytes, shape: tuple[int, int, int] | None
    ) -> tuple[int, int, int]:
        """Make image i one that can be used and, if `shape` is given, gets that shape."""
        problem = images.problems.get(i)
        while problem or (problem := self._misfit(images, i, shape)):
            self._bad_records.report(key, problem)
            key, value = self._source.after(key)
            other = self._load([value])
            images.items[i], images.sizes[i], images.labels[i] = (
                other.items[0],
                other.sizes[0],
                other.labels[0],
            )
            problem = other.problems.get(0)
        return self._output_shape(images, i)

    def _misfit(self, images: _Images, i: int, shape: tuple[int, int, int] | None) -> str | None:
        try:
            got = self._output_shape(images, i)
        except ConfigError as error:
            return error.problem
        if shape is None or got == shape:
            return None
        return f"the image gives {got} (channels, height, width), the batch has {shape}"

    def _output_shape(self, images: _Images, i: int) -> tuple[int, int, int]:
        channels, height, width = images.sizes[i].tolist()
        return self._transformer.output_shape(channels, height, width)

    def _buffer(self, slot: int, shape: tuple[int, int, int, int]) -> npt.NDArray[np.float32]:
        """Return the slot's buffer, made anew if the shape has changed."""
        buffer = self._buffers[slot]
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[slot] = aligned_batch(shape, self._layout)
        return buffer
