"""The files that a list names as a stream of images."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from .. import _core
from ..errors import DataError
from .image_list import ImageList
from .order import Order
from .regular_file import read_regular_file
from .source import ImageFile, Job, StoredImages

MAX_IMAGE_BYTES = 64 << 20  # as in layers_cpp/data/image_header.hpp


class ListedImages:
    """Images of a list of files; see `source.Images`. Records are indices of the list.

    Parameters
    ----------
    images : ImageList
    root : str
        Put before each path as it is, without a slash between.
    order : Order
    """

    def __init__(self, images: ImageList, root: str, order: Order) -> None:
        self.name = f"list file {images.path}"
        self.order = order
        self._list = images
        self._root = os.fsencode(root)

    def find(self, counters: npt.NDArray[np.int64]) -> Job:
        """See `source.Images.find`."""
        return Job(counters, self.order.records(counters).tolist())

    def load(self, job: Job) -> StoredImages:
        """See `source.Images.load`."""
        return self._load(list(job.records))

    def _load(self, records: list[int]) -> StoredImages:
        labels = self._list.labels[records].astype(np.float32)
        images = StoredImages([None] * len(records), {}, [[0, 0, 0] for _ in records], labels, {})
        for i, record in enumerate(records):
            try:
                content = read_regular_file(self._path(record), MAX_IMAGE_BYTES)
                header = _core.read_image_header(content)
            except DataError as error:
                images.problems[i] = error.problem
            except ValueError as error:
                images.problems[i] = str(error)
            else:
                images.files[i] = ImageFile(content, header["bit_depth"])
                images.sizes[i] = [header["channels"], header["height"], header["width"]]
        return images

    def after(self, record: int) -> tuple[int, StoredImages]:
        """See `source.Images.after`."""
        following = (record + 1) % self.order.count
        return following, self._load([following])

    def transform(self, job: Job, *_: object) -> bool:
        """See `source.Images.transform`: files are always encoded."""
        return False

    def complaint(self, record: int, problem: str) -> DataError:
        """See `source.Images.complaint`."""
        path = self._path(record).decode(errors="backslashreplace")
        return DataError(f"image '{path}': {problem}", where=self._list.position(record))

    def _path(self, record: int) -> bytes:
        return self._root + self._list.images[record]
