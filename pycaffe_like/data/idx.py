"""IDX files, the format of MNIST: a magic number, the sizes, then unsigned bytes; also as .gz and .xz."""

from __future__ import annotations

import gzip
import lzma
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingFileError
from ..files import open_regular

IMAGES_MAGIC = 2051
LABELS_MAGIC = 2049
_MOST_BYTES = 2**31
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ": lzma.open,
}


def read_idx_images(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read a file of images.

    Parameters
    ----------
    path : str or Path
        Plain, gzip or xz; told by the content.

    Returns
    -------
    ndarray of uint8
        Shape (items, rows, columns).

    Raises
    ------
    MissingFileError, DataError
        There is no such file, or it is not one of images.
    """
    return _read_idx(Path(path), IMAGES_MAGIC, "images", axes=3)


def read_idx_labels(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read a file of labels, shape (items,); like `read_idx_images` otherwise."""
    return _read_idx(Path(path), LABELS_MAGIC, "labels", axes=1)


def _read_idx(path: Path, magic: int, what: str, axes: int) -> npt.NDArray[np.uint8]:
    content = _read_file(path)
    header_bytes = 4 * (1 + axes)
    if len(content) < header_bytes:
        raise DataError(f"{path} is not an IDX file of {what}: it has only {len(content)} bytes")
    found, *shape = (int(number) for number in np.frombuffer(content, dtype=">u4", count=1 + axes))
    if found != magic:
        raise DataError(
            f"{path} is not an IDX file of {what}: its magic number is {found}, not {magic}",
            hint="are image_file and label_file swapped?",
        )
    held = len(content) - header_bytes
    if held != math.prod(shape):
        raise DataError(f"{path} is damaged: it holds {held} bytes for the shape {tuple(shape)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(shape)


def _read_file(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            start = file.read(6)
            file.seek(0)
            for mark, opener in _OPENERS.items():
                if start.startswith(mark):
                    with opener(file) as unpacked:
                        return _read_limited(path, unpacked.read(_MOST_BYTES + 1))
            return _read_limited(path, file.read(_MOST_BYTES + 1))
    except FileNotFoundError:
        raise MissingFileError(f"there is no file {path}") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _read_limited(path: Path, content: bytes) -> bytes:
    if len(content) > _MOST_BYTES:
        raise DataError(f"{path} holds more than {_MOST_BYTES} bytes")
    return content
