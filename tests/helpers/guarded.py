"""Memory that shows who has written to it: NaN where nobody has, and guard words behind its end."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pycaffe_like import _core as core

GUARD_WORDS = 64
NAN = np.uint16(0x7FC0)  # in bfloat16; two of them are one in float32


class Guarded:
    """The data or diff of a float32 or bfloat16 blob, moved to memory of its own.

    It must be no other blob's: those that shared it share it no more.

    Parameters
    ----------
    blob : core.Blob
    array : {"data", "diff"}
    zero : bool
        Begin with zeros, for what is added to.

    Attributes
    ----------
    words : numpy.ndarray
        The memory in half words, those behind the end included.
    """

    def __init__(self, blob: core.Blob, array: Literal["data", "diff"], *, zero: bool = False) -> None:
        self._blob, self._array, self._end = blob, array, blob.bytes // 2
        longer = core.Blob([math.ceil(blob.bytes / 4) + GUARD_WORDS], device=blob.device)
        (blob.share_data if array == "data" else blob.share_diff)(longer)
        self.words = getattr(longer, array).view(np.uint16)  # a view of the host, kept up to date
        self.words[...] = NAN
        if zero:
            self.words[: self._end] = 0

    def unwritten(self) -> int:
        """How many of the blob's values are NaN still."""
        return int(np.isnan(getattr(self._blob, self._array)).sum())

    def overwritten(self) -> int:
        """How many half words behind the end have changed."""
        return int((self.words[self._end :] != NAN).sum())
