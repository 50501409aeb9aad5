"""Memory pass: arrays that are never needed at the same moment use the same bytes of one arena."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _core as core
from .liveness import Array, Span

_ALIGNMENT = 256  # as allocations on a GPU, which reads memory by lines of 128 bytes


def place(
    arrays: Sequence[Array], spans: Sequence[Sequence[Span]], device: str
) -> tuple[core.Storage, dict[int, int]]:
    """Give the arrays their places in an arena; allocates nothing yet.

    Returns
    -------
    core.Storage
        The arena.
    dict of int to int
        Offsets, by the `data_id` or `diff_id` that blobs have there.
    """
    sizes = [array.bytes for array in arrays]
    offsets = pack(sizes, spans)
    arena, places = core.Storage(arena_bytes(sizes, offsets), device), {}
    for array, offset in zip(arrays, offsets):
        for blob in array.blobs:
            (blob.place_diff if array.is_diff else blob.place_data)(arena, offset)
            places[blob.diff_id if array.is_diff else blob.data_id] = offset
    return arena, places


def pack(sizes: Sequence[int], spans: Sequence[Sequence[Span]]) -> list[int]:
    """Choose offsets: no two arrays overlap both in bytes and in time.

    The large ones come first, each in the tightest gap between those that live with it.

    Parameters
    ----------
    sizes : sequence of int
        Bytes of the arrays.
    spans : sequence of sequence of (int, int)
        Moments between which each of them is needed, both included.

    Examples
    --------
    >>> pack([64, 128, 64], [[(0, 1)], [(1, 2)], [(2, 3)]])
    [256, 0, 256]
    """
    offsets = [0] * len(sizes)
    placed: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], spans[index][0])):
        busy = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in placed
            if _overlap(spans[index], spans[other])
        )
        offsets[index] = _tightest_gap(busy, sizes[index])
        placed.append(index)
    return offsets


def arena_bytes(sizes: Sequence[int], offsets: Sequence[int]) -> int:
    """Size of the arena that holds the packed arrays."""
    return max((offset + size for offset, size in zip(offsets, sizes)), default=0)


def _overlap(ones: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(a <= d and c <= b for a, b in ones for c, d in others)


def _tightest_gap(busy: Sequence[tuple[int, int]], size: int) -> int:
    """Offset of the smallest gap that fits, else of the end."""
    best, best_room, end = None, 0, 0
    for begin, stop in busy:
        room = begin - end
        if room >= size and (best is None or room < best_room):
            best, best_room = end, room
        end = max(end, -(-stop // _ALIGNMENT) * _ALIGNMENT)
    return end if best is None else best
