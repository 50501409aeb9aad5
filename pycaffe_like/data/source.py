"""What a source of batches is, and what a source of images is.

Data layers differ in where their batches come from and in nothing else. `DataLoader` runs any `Source` ahead
of the net, and one running layer (`layers.data_layer.DataLayer`) hands the batches to its tops. The source of
all images is `BatchMaker`, over `Images`: those of a database, or of a list of files.

Records are counted as they are delivered, without end, and everything about a batch is a function of the seed
and of the count before it. So that count is all that a resumed run needs; a source that is to go on
elsewhere, or with another seed, is opened anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .order import Order

if TYPE_CHECKING:
    from .transformer import Crops, Transformer

Array = npt.NDArray[np.float32]


class Batch(NamedTuple):
    """A batch; its arrays are valid until the following call of `DataLoader.next`."""

    arrays: tuple[Array, ...]  # one a top
    start: int  # records delivered before it
    end: int  # records delivered with it


class Source(Protocol):
    """Makes the batches of a data layer, one after the other.

    Attributes
    ----------
    position : int
        Records delivered before the first batch.
    shapes : sequence of tuple of int
        Shapes of the first batch's arrays.
    private_bytes : int
        Memory it keeps beside the batches.
    """

    @property
    def position(self) -> int:
        """See above, as all attributes."""
        ...

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]: ...  # noqa: D102

    @property
    def private_bytes(self) -> int: ...  # noqa: D102

    def claim(self) -> Any:
        """Return the next job, which becomes a batch; called by one thread at a time."""
        ...

    def make(self, job: Any, slot: int) -> Batch:
        """Make the batch of a job in the buffers of a slot; any number of threads, each with its slot."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class Job(NamedTuple):
    """The images of one batch."""

    counters: npt.NDArray[np.int64]
    records: Sequence[Any]  # what the stream calls them: keys, places in a list
    places: npt.NDArray[np.uint64] | None = None  # in a file, where that helps the stream


class ImageFile(NamedTuple):
    """An encoded image whose header has been checked."""

    content: bytes | memoryview
    bit_depth: int


@dataclass
class StoredImages:
    """Images of a job: records of pixels, or arrays once they are decoded."""

    items: list[Any]
    files: dict[int, ImageFile]  # what is still to be decoded
    sizes: list[list[int]]  # of each image channels, height, width; those of a file as its header says
    labels: Array
    problems: dict[int, str]  # of the images that cannot be used
    resized: set[int] = field(default_factory=set)  # images that turned out to be of another size


class Images(Protocol):
    """Labelled images in a stream without end. `find` is called by one thread at a time, the rest by several.

    Attributes
    ----------
    name : str
        For messages: "database x_lmdb".
    order : Order
        Which record stands where.
    """

    name: str
    order: Order

    def find(self, counters: npt.NDArray[np.int64]) -> Job:
        """Name the records at these places of the stream, which go up; fast if they do from call to call."""
        ...

    def load(self, job: Job) -> StoredImages:
        """Read them. What is wrong with one is noted, not raised."""
        ...

    def after(self, record: Any) -> tuple[Any, StoredImages]:
        """Read the record stored behind this one, or the first behind the last: it may replace a bad one."""
        ...

    def transform(
        self,
        job: Job,
        transformer: Transformer,
        size: tuple[int, int, int],
        crops: Crops,
        data: Array,
        labels: Array,
    ) -> bool:
        """Write a batch of images of this size that are not encoded, in one go; False if that cannot be."""
        ...

    def complaint(self, record: Any, problem: str) -> DataError:
        """Word the error about a record."""
        ...
