"""The source of seeds: entropy, or a fixed sequence after `set_random_seed`."""

from __future__ import annotations

import itertools
import secrets
import threading

import numpy as np

_state = threading.local()


def set_random_seed(seed: int) -> None:
    """Make everything random that this thread builds from now on repeat.

    Parameters
    ----------
    seed : int
        Not negative.
    """
    _state.seeds = (
        int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
        for number in itertools.count()
    )


def next_seed() -> int:
    """Seed of the next net."""
    seeds = getattr(_state, "seeds", None)
    return next(seeds) if seeds else secrets.randbits(63)
