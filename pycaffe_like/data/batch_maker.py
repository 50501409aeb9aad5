"""From images as they are stored to a batch: decode, replace what is bad, transform."""

from __future__ import annotations

import logging
import threading
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, DataError
from .source import Array, Batch, Images, Job, StoredImages
from .transformer import Crops, Transformer

log = logging.getLogger("caffe")

Layout = Literal["channels_last", "plain"]
BadRecordPolicy = Literal["error", "skip"]

_ALIGNMENT_BYTES = 64
_MOST_BAD = 0.01  # of all records


def aligned_array(shape: tuple[int, ...]) -> Array:
    """Allocate an array, aligned for vector instructions."""
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(4 * count + _ALIGNMENT_BYTES, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + 4 * count].view(np.float32).reshape(shape)


def aligned_batch(shape: tuple[int, int, int, int], layout: Layout) -> Array:
    """Allocate a batch of logical shape (N, C, H, W)."""
    n, c, h, w = shape
    return (
        aligned_array((n, h, w, c)).transpose(0, 3, 1, 2)
        if layout == "channels_last"
        else aligned_array(shape)
    )


class BadRecords:
    """What to do about bad records, and the count of them."""

    def __init__(self, images: Images, policy: BadRecordPolicy) -> None:
        self._images = images
        self._policy = policy
        self._records: set[Any] = set()
        self._lock = threading.Lock()

    def report(self, record: Any, problem: str) -> None:
        """Log a record to be skipped, once; raise if none may be, or if they are too many."""
        complaint = self._images.complaint(record, problem)
        if self._policy == "error":
            complaint.hint = "repair it, or skip up to 1 % of the records: CAFFE_ON_BAD_RECORD=skip"
            raise complaint
        with self._lock:
            if record in self._records:
                return
            self._records.add(record)
            bad, count = len(self._records), self._images.order.count
        log.warning("Skipping record: %s (%d of %d records skipped)", complaint, bad, count)
        if bad > _MOST_BAD * count:
            raise DataError(
                f"{bad} of the {count} records of {self._images.name} are bad, more than {_MOST_BAD:.0%}; "
                f"the last one: {complaint}",
                hint="make them anew; the log names each bad record",
            )


class BatchMaker:
    """Turns images into batches, in buffers of its own; see `source.Source`.

    Parameters
    ----------
    images : Images
    transformer : Transformer
    batch_size : int
        Records a batch.
    start : int, default 0
        Record to begin with.
    step : int, default 1
        Distance of the records of a batch: the number of solvers that share the images.
    layout : {"channels_last", "plain"}
        Order of the data in memory.
    with_label : bool, default True
        Whether batches have labels.
    on_bad_record : {"error", "skip"}
        In place of a bad record stands the next good one. So which records a batch covers does not depend on
        what was skipped before.
    log_restarts : bool, default True
        Whether to log when the images begin again.
    """

    private_bytes = 0

    def __init__(
        self,
        images: Images,
        transformer: Transformer,
        batch_size: int,
        *,
        start: int = 0,
        step: int = 1,
        layout: Layout = "channels_last",
        with_label: bool = True,
        on_bad_record: BadRecordPolicy = "error",
        log_restarts: bool = True,
    ) -> None:
        self._images = images
        self._transformer = transformer
        self._batch_size = batch_size
        self._step = step
        self._stride = step * batch_size
        self._layout = layout
        self._with_label = with_label
        self._bad_records = BadRecords(images, on_bad_record)
        self._buffers: dict[int, Array] = {}  # by slot
        self._said_not_encoded = False
        self._stored_size: tuple[int, int, int] | None = None  # of the image last seen that was not encoded
        self._next = self.position = start
        self._epoch = images.order.epoch(start)
        self._log_restarts = log_restarts
        shapes: list[tuple[int, ...]] = [(batch_size, *self._probe_shape()), (batch_size,)]
        self.shapes = shapes if with_label else shapes[:1]

    def _probe_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) that the first record, or else the next good one, gets."""
        job = self._images.find(np.array([self.position]))
        record, images = job.records[0], self._images.load(job)
        while self._decode_one(images).problems:
            self._bad_records.report(record, images.problems[0])
            record, images = self._images.after(record)
        return self._output_shape(images, 0)

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        """Of a batch's records from the first; not made before a batch, which may be refused as too large."""
        return self._step * np.arange(self._batch_size, dtype=np.int64)

    def claim(self) -> Job:
        """See `source.Source.claim`."""
        job = self._images.find(self._next + self._offsets)
        self._next += self._stride
        epoch = self._images.order.epoch(self._next - self._step)
        for _ in range(epoch - self._epoch if self._log_restarts else 0):
            log.info("Restarting data prefetching from start.")
        self._epoch = epoch
        return job

    def make(self, job: Job, slot: int) -> Batch:
        """See `source.Source.make`."""
        return self._make_of_stored(job, slot) or self._make_of_any(job, slot)

    def close(self) -> None:
        """See `source.Source.close`."""

    def _make_of_stored(self, job: Job, slot: int) -> Batch | None:
        """Make a batch in one go if all records are good, not encoded, and of the size last seen."""
        size = self._stored_size
        if size is None:
            return None
        crops = self._transformer.draw_crops(job.counters, *size[1:])
        data = self._buffer(slot, self._transformer.output_shape(*size))
        labels = np.empty(self._batch_size, dtype=np.float32)
        done = self._images.transform(job, self._transformer, size, crops, data, labels)
        return self._batch(data, labels, job) if done else None

    def _make_of_any(self, job: Job, slot: int) -> Batch:
        """Make a batch image by image, replacing bad ones."""
        images = self._look_at(self._images.load(job))
        sizes = np.array(images.sizes)
        crops = self._transformer.draw_crops(job.counters, sizes[:, 1], sizes[:, 2])
        shape = self._settle(images, 0, job.records[0], None)
        data = self._buffer(slot, shape)
        # A decoded image moves into the batch while it is in the cache, and its memory serves the next one.
        count = self._batch_size
        at_once = 1 if images.files else count
        for start in range(0, count, at_once):
            for i in range(max(start, 1), start + at_once):
                self._settle(images, i, job.records[i], shape)
            if images.resized:
                self._redraw(crops, images, job.counters)
            items = images.items[start : start + at_once]
            for i, problem in self._transformer.transform(items, crops, data, start):
                raise self._images.complaint(job.records[start + i], problem)
            images.items[start : start + at_once] = [None] * at_once
        return self._batch(data, images.labels, job)

    def _batch(self, data: Array, labels: Array, job: Job) -> Batch:
        start = int(job.counters[0])
        arrays = (data, labels) if self._with_label else (data,)
        return Batch(arrays, start, start + self._stride)

    def _look_at(self, images: StoredImages) -> StoredImages:
        """Note what images of a stream are like, and which sizes they will have."""
        encoded, stored = len(images.files), len(images.items) - len(images.problems)
        if encoded == 0 and not images.problems:
            channels, height, width = images.sizes[0]
            self._stored_size = (channels, height, width)
        if self._transformer.forces_channels and encoded < stored and not self._said_not_encoded:
            self._said_not_encoded = True
            log.error("force_color and force_gray have no effect on records that are not encoded")
        for i in images.files:
            images.sizes[i] = self._transformer.decoded_size(*images.sizes[i])
        return images

    def _decode_one(self, images: StoredImages) -> StoredImages:
        """Look at a single image and decode it."""
        if self._look_at(images).files:
            self._decode(images, 0)
        return images

    def _decode(self, images: StoredImages, i: int) -> None:
        """Put the decoded image in the place of its file."""
        try:
            image = self._transformer.decode(*images.files[i])
        except ValueError as error:
            images.problems[i] = str(error)
            return
        height, width, channels = image.shape
        images.items[i] = image
        self._resize(images, i, [channels, height, width])

    def _resize(self, images: StoredImages, i: int, size: list[int]) -> None:
        if images.sizes[i] != size:
            images.sizes[i] = size
            images.resized.add(i)

    def _settle(
        self, images: StoredImages, i: int, record: Any, shape: tuple[int, int, int] | None
    ) -> tuple[int, int, int]:
        """Decode an image, or find another one in its place; return the shape it gets."""
        if i in images.files:
            self._decode(images, i)
        if shape is None or i in images.problems or images.sizes[i] != images.sizes[0]:
            return self._mend(images, i, record, shape)
        return shape

    def _mend(
        self, images: StoredImages, i: int, record: Any, shape: tuple[int, int, int] | None
    ) -> tuple[int, int, int]:
        """Make image i one that can be used and, if `shape` is given, gets that shape."""
        problem = images.problems.get(i)
        while problem or (problem := self._misfit(images, i, shape)):
            self._bad_records.report(record, problem)
            record, other = self._images.after(record)
            self._decode_one(other)
            images.items[i], images.labels[i] = other.items[0], other.labels[0]
            self._resize(images, i, other.sizes[0])
            problem = other.problems.get(0)
        return self._output_shape(images, i)

    def _redraw(self, crops: Crops, images: StoredImages, counters: npt.NDArray[np.int64]) -> None:
        """Draw the crops of images whose size was not known at first."""
        for i in images.resized:
            size = np.array([images.sizes[i]])
            (crops.h_off[i],), (crops.w_off[i],), _ = self._transformer.draw_crops(
                counters[i : i + 1], size[:, 1], size[:, 2]
            )
        images.resized.clear()

    def _misfit(self, images: StoredImages, i: int, shape: tuple[int, int, int] | None) -> str | None:
        try:
            got = self._output_shape(images, i)
        except ConfigError as error:
            return error.problem
        if shape is None or got == shape:
            return None
        return f"the image gives {got} (channels, height, width), the batch has {shape}"

    def _output_shape(self, images: StoredImages, i: int) -> tuple[int, int, int]:
        return self._transformer.output_shape(*images.sizes[i])

    def _buffer(self, slot: int, image: tuple[int, int, int]) -> Array:
        """Return the slot's buffer, made anew if the shape of the images has changed."""
        shape = (self._batch_size, *image)
        buffer = self._buffers.get(slot)
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[slot] = aligned_batch(shape, self._layout)
        return buffer
