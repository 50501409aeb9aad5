"""What a layer type says of its blobs: bottoms, tops, what it learns, and what backward reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .rules import Count


@dataclass(frozen=True)
class Bottom:
    """One bottom of a layer, or several of the same kind.

    Attributes
    ----------
    name : str
        What it is to the layer; `Reads` may name it.
    exact : bool
        Always float32, never rounded, in a bfloat16 plan too: labels, indices, boxes.
    plain : bool
        C-contiguous, whatever the layer computes in.
    gradient : bool
        Whether backward can give its gradient.
    least, most : int
        How many there are: 0 to 1 for one that may be left out, `most` None for any number.
    """

    name: str = "bottom"
    exact: bool = False
    plain: bool = False
    gradient: bool = True
    least: int = 1
    most: int | None = 1


@dataclass(frozen=True)
class Top:
    """One top of a layer, or several of the same kind; attributes as those of `Bottom`."""

    name: str = "top"
    exact: bool = False
    plain: bool = False
    least: int = 1
    most: int | None = 1


@dataclass(frozen=True)
class Learned:
    """One learned blob.

    Attributes
    ----------
    filler : FillerParameter
        Its initial values.
    trained : bool
        Whether the solver learns it; statistics are not learned.
    layout : {"plain", "channels_last"}
        How it lies in the GPU's memory, if it has 4 or 5 axes.
    """

    filler: Any
    trained: bool = True
    layout: Literal["plain", "channels_last"] = "plain"


_Fact = TypeVar("_Fact", Bottom, Top)


def count_of(facts: Sequence[Bottom] | Sequence[Top]) -> Count:
    """How many blobs these are together."""
    most = [fact.most for fact in facts]
    return Count(sum(fact.least for fact in facts), None if None in most else sum(n or 0 for n in most))


def facts_of(facts: Sequence[_Fact], count: int) -> list[_Fact]:
    """What is said of each of `count` blobs; what a plan adds behind the last is like the last.

    Where one fact is of any number of blobs, those behind it are of one blob each.
    """
    each: list[_Fact] = []
    for number, fact in enumerate(facts):
        room = count - len(each) - len(facts[number + 1 :])
        each += [fact] * (max(room, 0) if fact.most is None else fact.most)
    each += [fact for fact in facts[-1:] for _ in range(count - len(each))]
    return each[:count]


Which = bool | tuple[str | int, ...]
"""All blobs, none, or those of these names or positions."""


@dataclass(frozen=True)
class Reads:
    """Whose data a layer's backward reads; gradients and learned blobs do not count."""

    bottoms: Which = False
    tops: Which = False

    def bottom(self, index: int, fact: Bottom) -> bool:
        """Whether the data of the bottom at a position is read."""
        return _is_read(self.bottoms, index, fact)

    def top(self, index: int, fact: Top) -> bool:
        """Whether the data of the top at a position is read."""
        return _is_read(self.tops, index, fact)


def _is_read(which: Which, index: int, fact: Bottom | Top) -> bool:
    return which if isinstance(which, bool) else index in which or fact.name in which
