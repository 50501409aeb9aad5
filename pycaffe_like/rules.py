"""Rules as data: how many blobs a layer may have, and which values a parameter may.

One place words a value that breaks a rule (`layer_type.check_constraints`, `solver.checks`); tests make bad
values from the rules.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """How many bottoms or tops a layer takes; `most` None means any number."""

    least: int
    most: int | None

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        if self.least == self.most:
            return f"exactly {self.least}"
        return f"{self.least} to {self.most}"

    def accepts(self, count: int) -> bool:
        """Tell whether `count` blobs are allowed."""
        return count >= self.least and (self.most is None or count <= self.most)


def exactly(count: int) -> Count:
    """Exactly `count` blobs."""
    return Count(count, count)


def at_least(count: int) -> Count:
    """`count` blobs or more."""
    return Count(count, None)


def between(least: int, most: int) -> Count:
    """From `least` to `most` blobs."""
    return Count(least, most)


@dataclass(frozen=True)
class Rule:
    """The values a numeric parameter may have. Tests generate bad values from it.

    Parameters
    ----------
    low, high
        Bounds, included unless the matching `*_open` is set.
    required
        The field must be given.
    """

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    required: bool = False

    def accepts(self, value: float) -> bool:
        """Tell whether `value` (never NaN) is allowed."""
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below

    def __str__(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"{'>' if self.low_open else '>='} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'<' if self.high_open else '<='} {self.high:g}")
        return " and ".join(parts) or "given"

    def bad_values(self) -> list[float]:
        """Values just outside the bounds."""
        bad = []
        if self.low is not None:
            bad.append(self.low if self.low_open else self.low - 1)
        if self.high is not None:
            bad.append(self.high if self.high_open else self.high + 1)
        return bad
