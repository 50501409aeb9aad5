"""Which record comes when: a function of seed and count, so that a run resumes within a shuffled epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .counter_random import draw_below, permutation

_SKIP_DRAW = 2**32 - 1  # far from the draws of crops, and before those of shuffles


class Order:
    """An endless stream of records: all of them, then all of them again, as they are stored or shuffled.

    Parameters
    ----------
    count : int
        Number of records, >= 1.
    seed : int
        Any integer.
    shuffle : bool
        Whether each epoch has a random order of its own, the first one too.
    rand_skip : int
        Above 1, the stream begins at a random one of the first so many records.
    first : int
        Shuffles of streams of one seed differ where their numbers from here on do.

    Attributes
    ----------
    skip : int
        Records that were passed over at the beginning.

    Examples
    --------
    >>> Order(4).records(np.arange(6)).tolist()
    [0, 1, 2, 3, 0, 1]
    >>> Order(4, seed=1, shuffle=True).records(np.arange(8)).tolist()
    [0, 3, 1, 2, 0, 2, 1, 3]
    """

    def __init__(
        self, count: int, seed: int = 0, *, shuffle: bool = False, rand_skip: int = 0, first: int = 0
    ) -> None:
        self.count = count
        self.shuffle = shuffle
        self.skip = draw_skip(rand_skip, seed)
        self._seed = seed
        self._first = first
        self._shuffled: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def epoch(self, counter: int) -> int:
        """How often the stream has begun again before this record."""
        return (counter + self.skip) // self.count

    def records(self, counters: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return which of the stored records, counted from 0, stand at these places of the stream."""
        epochs, places = np.divmod(counters + self.skip, self.count)
        if not self.shuffle:
            return places
        records = np.empty_like(places)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            mine = epochs == epoch
            records[mine] = self._shuffle(epoch)[places[mine]]
        return records

    def _shuffle(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of one epoch; that of the last one asked for is kept."""
        if self._shuffled[0] != epoch:
            self._shuffled = (epoch, permutation(self.count, self._seed, epoch, first=self._first))
        return self._shuffled[1]


def draw_skip(rand_skip: int, seed: int) -> int:
    """Draw how many records to pass over: one of 0 .. rand_skip - 1."""
    return int(draw_below(max(rand_skip, 1), seed, np.zeros(1, np.int64), _SKIP_DRAW)[0])
