"""Random numbers that depend on nothing but (seed, counter, draw): no state, no order, any number of threads.

The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, 2014).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


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
    key = _mix(np.array([(seed + _GOLDEN) & _MASK], dtype=np.uint64))
    offset = np.uint64((_GOLDEN * (draw + 1)) & _MASK)
    bits = _mix(_mix(counters.astype(np.uint64) ^ key) + offset)
    return (bits % np.asarray(bound, dtype=np.uint64)).astype(np.int64)
