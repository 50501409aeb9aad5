"""The one door to the image decoder: whatever decodes a picture of a user does it here.

A file's header is read and checked first (`image_formats.py`), the decoder gets no more of the file than
that, and what it returns must have the size that was checked. Kinds without a check are refused.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingFileError
from ..files import read_bytes
from .image_formats import check_image

MAX_FILE_BYTES = 64 << 20


def decode_image(file: bytes | memoryview, flag: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Parameters
    ----------
    file : bytes-like
        A whole JPEG, PNG, BMP, WebP, TIFF, PGM or PPM file.
    flag : int
        cv2.IMREAD_COLOR (blue, green, red), IMREAD_GRAYSCALE or IMREAD_UNCHANGED. With the first two a file's
        EXIF orientation is applied.

    Returns
    -------
    ndarray of uint8
        Shape (height, width, channels).

    Raises
    ------
    ValueError
        The file is of another kind, damaged, over a limit, or does not decode to 8 bits a channel.
    """
    checked = check_image(_limited(file))
    try:
        image = cv2.imdecode(np.frombuffer(checked.file, dtype=np.uint8), flag)
    except cv2.error as error:
        raise ValueError(f"image file is damaged: {error.err}") from None
    if image is None:
        raise ValueError("image file is damaged: it cannot be decoded")
    if image.dtype != np.uint8:
        raise ValueError(f"image decodes to {image.dtype}, not to 8 bits a channel")
    if sorted(image.shape[:2]) != sorted((checked.height, checked.width)):
        raise ValueError(
            f"image file is damaged: it decodes to {image.shape[1]}x{image.shape[0]} (width x height), its "
            f"header says {checked.width}x{checked.height}"
        )
    return np.ascontiguousarray(image if image.ndim == 3 else image[:, :, None], dtype=np.uint8)


def _limited(file: bytes | memoryview) -> bytes | memoryview:
    if len(file) > MAX_FILE_BYTES:
        raise ValueError(f"image file of {len(file)} bytes, over the limit of {MAX_FILE_BYTES}")
    return file


def read_image(path: str | os.PathLike[str], flag: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    """Read and decode an image file; see `decode_image`.

    Raises
    ------
    MissingFileError, DataError
        With the path: there is no such file, or it cannot be read or decoded.
    """
    return decode_named(path, read_image_file(path), flag)


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """Read an image file, without decoding it.

    Raises
    ------
    MissingFileError, DataError
        With the path: there is no such file, or it cannot be read.
    """
    try:
        return read_bytes(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        raise MissingFileError(f"there is no image '{os.fspath(path)}'") from None
    except OSError as error:
        raise DataError(f"image '{os.fspath(path)}' cannot be read: {error.strerror}") from None


def decode_named(
    path: str | os.PathLike[str], file: bytes, flag: int = cv2.IMREAD_COLOR
) -> npt.NDArray[np.uint8]:
    """Decode a file that was read from `path`, which errors name; see `decode_image`.

    Raises
    ------
    DataError
    """
    try:
        return decode_image(file, flag)
    except ValueError as error:
        raise DataError(f"image '{os.fspath(path)}' cannot be decoded: {error}") from None
