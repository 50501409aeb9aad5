"""Mean images: one `BlobProto` a file, as `compute_image_mean` writes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from .. import schema
from ..errors import DataError, MissingFileError


def read_mean(path: str) -> npt.NDArray[np.float32]:
    """Read a mean image.

    Parameters
    ----------
    path : str
        A `.binaryproto` file: shape (1, C, H, W) or (C, H, W), in the old or the new way of writing shapes.

    Returns
    -------
    ndarray of float32
        Shape (C, H, W).

    Raises
    ------
    MissingFileError, DataError
        There is no such file, or it is not a mean image.
    """
    blob = _parse(path)
    shape = (
        list(blob.shape.dim) if blob.HasField("shape") else [blob.num, blob.channels, blob.height, blob.width]
    )
    values = np.asarray(blob.data or blob.double_data, dtype=np.float32)
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 3 or min(shape) < 1 or int(np.prod(shape, dtype=object)) != values.size:
        raise DataError(
            f"mean file {path} holds {values.size} values for the shape {tuple(shape)}, not one image",
            hint="make it with compute_image_mean",
        )
    return values.reshape(shape)


def _parse(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return schema.BlobProto.FromString(file.read())
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no mean file {path}", hint="make it with compute_image_mean"
        ) from None
    except OSError as error:
        raise DataError(f"mean file {path} cannot be read: {error.strerror}") from None
    except DecodeError as error:
        raise DataError(f"mean file {path} is not a BlobProto: {error}") from None


def write_mean(path: str, mean: npt.NDArray[np.float32]) -> None:
    """Write a mean image of shape (C, H, W), with Caffe's four old fields for the shape."""
    channels, height, width = mean.shape
    blob = schema.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.ravel())
    try:
        with open(path, "wb") as file:
            file.write(blob.SerializeToString())
    except OSError as error:
        raise DataError(f"mean file {path} cannot be written: {error.strerror}") from None
