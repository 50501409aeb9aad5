"""Dictionaries by name, whose errors name what there is."""

from __future__ import annotations

from collections import OrderedDict
from typing import NoReturn, TypeVar

from .errors import nearest

_Value = TypeVar("_Value")

SHOWN = 20
"""Names in a message, at most."""


class Named(OrderedDict[str, _Value]):
    """Things of a net by name.

    Examples
    --------
    >>> Named(conv1=1, conv2=2)["conv3"]
    Traceback (most recent call last):
    KeyError: "there is no 'conv3'; did you mean conv2 or conv1?"
    """

    def __missing__(self, name: str) -> NoReturn:
        names = [*list(self)[:SHOWN], *(["..."] if len(self) > SHOWN else [])]
        hint = nearest(str(name), self) or f"there are {', '.join(names) or 'none'}"
        raise KeyError(f"there is no {name!r}; {hint}")
