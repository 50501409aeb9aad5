"""Random numbers that depend on nothing but (seed, counter, draw): no state, no order, any number of threads.

The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, 2014).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _core

_MASK = 2**64 - 1
_KEYS = 2**62
_SHUFFLE_DRAW = 2**32  # draws of shuffles: this one and all above


def draw_below(
    bound: npt.ArrayLike, seed: int, counters: npt.NDArray[np.int64], draw: int
) -> npt.NDArray[np.int64]:
    """Draw one integer of 0 .. bound - 1 for each counter.

    Parameters
    ----------
    bound : array_like of int
        Upper bound, one for all or one a counter; >= 1.
    seed : int
        Any integer; its low 64 bits count.
    counters : ndarray of int64
        What the numbers belong to, for example records.
    draw : int
        Which draw of the same counter this is.

    Returns
    -------
    ndarray of int64
        Of the shape of `counters`.

    Examples
    --------
    >>> draw_below(10, 1, np.array([5, 6, 7]), 0).tolist()
    [6, 3, 8]
    """
    return _core.draw_below(bound, seed & _MASK, counters, draw)


def permutation(count: int, seed: int, epoch: int, *, first: int = 0) -> npt.NDArray[np.int64]:
    """Shuffle the numbers 0 .. count - 1.

    Parameters
    ----------
    count : int
    seed : int
        Any integer; its low 64 bits count.
    epoch : int
        Each gives an order of its own.
    first : int, default 0
        Counter of number 0; orders of other counters have nothing to do with each other.

    Returns
    -------
    ndarray of int64
        Shape (count,).

    Examples
    --------
    >>> permutation(6, 1, epoch=0).tolist()
    [0, 5, 3, 1, 2, 4]
    """
    counters = np.arange(first, first + count, dtype=np.int64)
    keys = draw_below(_KEYS, seed, counters, _SHUFFLE_DRAW + epoch)
    return np.argsort(keys, kind="stable")
