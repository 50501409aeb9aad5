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
from .transformer import Crops, Transformer

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


class _ImageFile(NamedTuple):
    content: memoryview
    bit_depth: int


class _Images(NamedTuple):
    """The images of a job: records as they are stored, or arrays once they are decoded."""

    items: list[Any]
    files: dict[int, _ImageFile]  # what is still to be decoded
    sizes: list[list[int]]  # of each image channels, height, width; those of a file as its header says
    resized: set[int]  # images that turned out to be of another size
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
        self._memory = threading.local()
        self._said_not_encoded = False
        self._stored_size: tuple[int, int, int] | None = None  # of the image last seen that was not encoded

    def probe_shape(self, key: bytes, value: bytes) -> tuple[int, int, int]:
        """Return the shape (C, H, W) that this record, or else the next good one, gets."""
        images = self._load(value)
        while images.problems:
            self._bad_records.report(key, images.problems[0])
            key, value = self._source.after(key)
            images = self._load(value)
        return self._output_shape(images, 0)

    def make(self, job: Job, slot: int) -> Batch:
        """Make a batch in the buffer of a slot."""
        return self._make_of_stored(job, slot) or self._make_of_any(job, slot)

    def _make_of_stored(self, job: Job, slot: int) -> Batch | None:
        """Make a batch in one go if all records are good, not encoded, and of the size last seen."""
        size, count = self._stored_size, len(job.keys)
        if size is None:
            return None
        crops = self._transformer.draw_crops(job.counters, *size[1:])
        data = self._buffer(slot, (count, *self._transformer.output_shape(*size)))
        labels = np.empty(count, dtype=np.float32)
        database = self._source.database
        if not self._transformer.transform_stored(database, job.places, size, crops, data, labels):
            return None
        return self._batch(data, labels, job)

    def _make_of_any(self, job: Job, slot: int) -> Batch:
        """Make a batch image by image, replacing bad ones."""
        images = self._inspect(self._read(job))
        sizes = np.array(images.sizes)
        crops = self._transformer.draw_crops(job.counters, sizes[:, 1], sizes[:, 2])
        count = len(job.keys)
        shape = self._settle(images, 0, job.keys[0], None)
        data = self._buffer(slot, (count, *shape))
        # A decoded image moves into the batch while it is in the cache, and its memory serves the next one.
        at_once = 1 if images.files else count
        for start in range(0, count, at_once):
            for i in range(max(start, 1), start + at_once):
                self._settle(images, i, job.keys[i], shape)
            if images.resized:
                self._redraw(crops, images, job.counters)
            items = images.items[start : start + at_once]
            for i, problem in self._transformer.transform(items, crops, data, start):
                key = job.keys[start + i]
                raise DataError(f"database {self._source.database.path}, key {key!r}: {problem}")
            images.items[start : start + at_once] = [None] * at_once
        return self._batch(data, images.labels, job)

    def _batch(self, data: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], job: Job) -> Batch:
        return Batch(data, labels if self._with_label else None, int(job.counters[0]))

    def _read(self, job: Job) -> list[memoryview]:
        """Read the records of a job into the thread's memory, which the following call uses again."""
        ends = np.cumsum(job.places[:, 1]).tolist()
        if ends[-1] > len(getattr(self._memory, "records", ())):
            self._memory.records = np.empty(ends[-1] + ends[-1] // 8, dtype=np.uint8)
        records = self._memory.records
        self._source.database.read(job.places, records)
        view = memoryview(records)
        return [view[start:end] for start, end in zip([0, *ends], ends)]

    def _inspect(self, values: list[Any]) -> _Images:
        """Check records, with the headers of those that are encoded."""
        infos, problems = _core.parse_datums(values)
        sizes = np.stack([infos["channels"], infos["height"], infos["width"]], axis=1).tolist()
        images = _Images(list(values), {}, sizes, set(), infos["label"].astype(np.float32), dict(problems))
        for i in np.flatnonzero(infos["encoded"]).tolist():
            start, count = int(infos["data_offset"][i]), int(infos["data_size"][i])
            images.files[i] = _ImageFile(
                memoryview(values[i])[start : start + count], int(infos["bit_depth"][i])
            )
        if not images.files and not images.problems:
            channels, height, width = images.sizes[0]
            self._stored_size = (channels, height, width)
        if self._transformer.forces_channels and not self._said_not_encoded and not infos["encoded"].all():
            self._said_not_encoded = True
            log.error("force_color and force_gray have no effect on records that are not encoded")
        return images

    def _load(self, value: bytes) -> _Images:
        """Check a record and decode it."""
        images = self._inspect([value])
        if images.files:
            self._decode(images, 0)
        return images

    def _decode(self, images: _Images, i: int) -> None:
        """Put the decoded image in the place of its file."""
        try:
            image = self._transformer.decode(*images.files[i])
        except ValueError as error:
            images.problems[i] = str(error)
            return
        height, width, channels = image.shape
        images.items[i] = image
        self._resize(images, i, [channels, height, width])

    def _resize(self, images: _Images, i: int, size: list[int]) -> None:
        if images.sizes[i] != size:
            images.sizes[i] = size
            images.resized.add(i)

    def _settle(
        self, images: _Images, i: int, key: bytes, shape: tuple[int, int, int] | None
    ) -> tuple[int, int, int]:
        """Decode an image, or find another one in its place; return the shape it gets."""
        if i in images.files:
            self._decode(images, i)
        if shape is None or i in images.problems or images.sizes[i] != images.sizes[0]:
            return self._mend(images, i, key, shape)
        return shape

    def _mend(
        self, images: _Images, i: int, key: bytes, shape: tuple[int, int, int] | None
    ) -> tuple[int, int, int]:
        """Make image i one that can be used and, if `shape` is given, gets that shape."""
        problem = images.problems.get(i)
        while problem or (problem := self._misfit(images, i, shape)):
            self._bad_records.report(key, problem)
            key, value = self._source.after(key)
            other = self._load(value)
            images.items[i], images.labels[i] = other.items[0], other.labels[0]
            self._resize(images, i, other.sizes[0])
            problem = other.problems.get(0)
        return self._output_shape(images, i)

    def _redraw(self, crops: Crops, images: _Images, counters: npt.NDArray[np.int64]) -> None:
        """Draw the crops of images whose size was not known at first."""
        for i in images.resized:
            size = np.array([images.sizes[i]])
            (crops.h_off[i],), (crops.w_off[i],), _ = self._transformer.draw_crops(
                counters[i : i + 1], size[:, 1], size[:, 2]
            )
        images.resized.clear()

    def _misfit(self, images: _Images, i: int, shape: tuple[int, int, int] | None) -> str | None:
        try:
            got = self._output_shape(images, i)
        except ConfigError as error:
            return error.problem
        if shape is None or got == shape:
            return None
        return f"the image gives {got} (channels, height, width), the batch has {shape}"

    def _output_shape(self, images: _Images, i: int) -> tuple[int, int, int]:
        return self._transformer.output_shape(*images.sizes[i])

    def _buffer(self, slot: int, shape: tuple[int, int, int, int]) -> npt.NDArray[np.float32]:
        """Return the slot's buffer, made anew if the shape has changed."""
        buffer = self._buffers[slot]
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[slot] = aligned_batch(shape, self._layout)
        return buffer
