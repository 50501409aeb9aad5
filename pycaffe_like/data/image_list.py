"""List files of images: ``<path> <label>`` a line."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, DataError, Position
from .regular_file import read_regular_file

MAX_LIST_BYTES = 1 << 30
_LABEL = re.compile(rb"[+-]?[0-9]{1,10}")


class ImageList(NamedTuple):
    """What a list file says; entry i stands in line i + 1."""

    path: str
    images: list[bytes]
    labels: npt.NDArray[np.int32]

    def position(self, index: int) -> Position:
        """Place of an entry in the file."""
        return Position(self.path, index + 1, 1)


def read_image_list(path: str) -> ImageList:
    """Read a list file. Each line is split at its last blank, so paths may hold blanks.

    Parameters
    ----------
    path : str

    Raises
    ------
    MissingFileError, DataError
        There is no such file, or it cannot be read or is empty.
    ConfigError
        A line has no path, or no label that is an int of 32 bits (where Caffe takes 0).
    """
    try:
        content = read_regular_file(path, MAX_LIST_BYTES)
    except DataError as error:
        raise type(error)(f"list file '{path}': {error.problem}") from None
    lines = content.rstrip(b"\r\n").split(b"\n")
    if lines == [b""]:
        raise DataError(
            f"list file '{path}' is empty", hint="write a line for each image: its path, its label"
        )
    images, labels = [], np.empty(len(lines), np.int32)
    for index, line in enumerate(lines):
        image, _, text = line.rstrip(b"\r").rpartition(b" ")
        images.append(image)
        label = int(text) if image and _LABEL.fullmatch(text) else 2**31
        if not -(2**31) <= label < 2**31:
            raise _bad_line(path, index, line)
        labels[index] = label
    return ImageList(path, images, labels)


def _bad_line(path: str, index: int, line: bytes) -> ConfigError:
    shown = line[:100].decode(errors="backslashreplace")
    return ConfigError(
        f"a line must be a path, a blank and a label, an int of 32 bits; got '{shown}'",
        where=Position(path, index + 1, 1),
        hint="number the classes from 0 on, and put no blank behind the label",
    )
