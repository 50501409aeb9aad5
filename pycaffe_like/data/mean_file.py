"""Mean images: one `BlobProto` a file, as `compute_image_mean` writes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..weights.binaryproto import read_blobproto, write_blobproto


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
    blob = read_blobproto(path)
    # Aligned, because the blob's numbers lie in the file's bytes wherever they happen to.
    mean: npt.NDArray[np.float32] = np.require(blob.data, np.float32, ["C", "A"]).reshape(blob.shape)
    if mean.ndim == 4 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim != 3 or mean.size == 0:
        raise DataError(
            f"mean file {path} holds a blob of shape {mean.shape}, not one image",
            hint="make it with compute_image_mean",
        )
    return mean


def write_mean(path: str, mean: npt.NDArray[np.float32]) -> None:
    """Write a mean image of shape (C, H, W), with Caffe's four old fields for the shape."""
    try:
        write_blobproto(path, mean[None], legacy_dims=True)
    except OSError as error:
        raise DataError(f"mean file {path} cannot be written: {error.strerror}") from None
