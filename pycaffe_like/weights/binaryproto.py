"""Reads and writes single blobs in files of their own: mean images, `.binaryproto`."""

from __future__ import annotations

import os

import numpy.typing as npt

from .blobs import BlobArray, encode_blob, read_blob
from .wire import open_wire


def read_blobproto(path: str | os.PathLike[str]) -> BlobArray:
    """Read a file with one blob, such as a mean image.

    Raises
    ------
    MissingFileError, DataError
        The file is missing, cannot be read or is damaged.
    """
    wire = open_wire(path, "is it a .binaryproto, completely copied?")
    return read_blob(wire, 0, len(wire.data))


def write_blobproto(path: str | os.PathLike[str], array: npt.ArrayLike, legacy_dims: bool = False) -> None:
    """Write one blob; `legacy_dims` gives it the four-axis shape that Caffe's own tools write."""
    with open(path, "wb") as stream:
        for part in encode_blob(array, legacy=legacy_dims):
            stream.write(part)
