"""The errors a user can cause, and how they are worded.

Every message says where (file, line, column, layer), what (with the value that was received) and, as a
hint, what to do. Nothing in this package ends the process.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """A place in a text file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class _Located(Exception):
    """Shared by all errors: keeps the parts, words them once.

    Attributes
    ----------
    problem : str
        What is wrong, with the value that was received.
    where : Position or None
        The place in the file that says so.
    layer, layer_type : str or None
        Name and type of the layer it is about.
    hint : str or None
        What to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: Position | None = None,
        layer: str | None = None,
        layer_type: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.layer = layer
        self.layer_type = layer_type
        self.hint = hint
        super().__init__(problem)

    @property
    def file(self) -> str | None:
        """File the error was found in, if it came from one."""
        return self.where.file if self.where else None

    @property
    def line(self) -> int | None:
        """Line in that file, counted from 1."""
        return self.where.line if self.where else None

    def __str__(self) -> str:
        prefix = f"{self.where}: " if self.where else ""
        if self.layer is not None:
            prefix += f"layer '{self.layer}'"
            prefix += f" ({self.layer_type}): " if self.layer_type else ": "
        suffix = f"\n  {self.hint}" if self.hint else ""
        return f"{prefix}{self.problem}{suffix}"


class ConfigError(_Located, ValueError):
    """A net, solver or command line says something that cannot be done.

    Cause: an unknown field, a value out of range, blobs that do not connect. Cure: edit the file at the
    position the message names.
    """


class ShapeError(ConfigError):
    """Shapes that do not fit together: of bottoms, of a layer's parameters, of weights that are loaded."""


class DataError(_Located, OSError):
    """A file, database or record that cannot be read or written.

    Cause: truncated, corrupt, missing or over a limit. Cure: the message names file and key; repair or
    leave out what it names.
    """


class WriteError(DataError):
    """A file that the disk does not take.

    Cause: it is full, the folder is gone or may not be written to. Cure: make room, or the folder, and do it
    again; what was written before is as it was.
    """


class MissingFileError(DataError, RuntimeError):
    """A file that does not exist. Also a `RuntimeError`, which is what Caffe's Python module raises."""


class DeviceError(_Located, RuntimeError):
    """The device asked for cannot be used: no such device, no driver, out of memory."""


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names that are close to `name`, the closest first."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)


def nearest(name: str, known: Iterable[str]) -> str:
    """Word a hint that lists the known names closest to `name` (empty if none is close)."""
    close = nearest_names(name, known)
    return f"did you mean {' or '.join(close)}?" if close else ""


class DivergedError(_Located, ArithmeticError):
    """Training produced NaN or infinity.

    Cause: a learning rate that is too high, or bad values in the data. Cure: resume from the last snapshot
    with a smaller base_lr or with clip_gradients; if the message names a data layer, look at the data.
    """
