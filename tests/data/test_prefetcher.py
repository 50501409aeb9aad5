"""The threads that make results ahead."""

import itertools
import threading

import pytest

from pycaffe_like.data.prefetcher import Prefetcher


class Results:
    """Numbers, and how many of them were begun."""

    def __init__(self, slots, threads):
        self._numbers = itertools.count()
        self.begun = 0
        self.prefetcher = Prefetcher(self._claim, lambda job, slot: job, slots, threads)

    def _claim(self):
        self.begun += 1
        return next(self._numbers)

    def settle(self):
        """Wait until nothing more is begun; return how many were."""
        seen = -1
        while seen != self.begun:
            seen = self.begun
            threading.Event().wait(0.05)
        return seen


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("slots", "wakes"), [(2, 1), (3, 1), (4, 2), (5, 3), (9, 5)])
def test_threads_rest_until_half_of_the_slots_are_free(slots, wakes, threads):
    results = Results(slots, threads)
    try:
        taken = itertools.count()
        assert results.prefetcher.next() == next(taken)
        begun = slots
        for _ in range(3):
            for free in range(1, wakes + 1):
                assert results.settle() == begun
                assert results.prefetcher.next() == next(taken)
                begun += wakes if free == wakes else 0
        assert results.settle() == begun
    finally:
        results.prefetcher.close()


@pytest.mark.parametrize("slots", [2, 3, 5])
@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_order(slots, threads):
    results = Results(slots, threads)
    assert [results.prefetcher.next() for _ in range(2000)] == list(range(2000))
    results.prefetcher.close()
