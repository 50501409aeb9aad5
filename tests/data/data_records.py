"""Records and image files for the tests of this folder."""

from pathlib import Path

import cv2
import numpy as np

from pycaffe_like.prototxt import schema

GOLDEN = Path(__file__).parents[1] / "golden" / "files"


def raw_record(image: np.ndarray, label: int = 0) -> bytes:
    """Serialize an image of shape (C, H, W)."""
    channels, height, width = image.shape
    field = {"data": image.tobytes()} if image.dtype == np.uint8 else {"float_data": image.ravel()}
    datum = schema.Datum(channels=channels, height=height, width=width, label=label, **field)
    return datum.SerializeToString()


def encoded_record(file: bytes, label: int = 0) -> bytes:
    return schema.Datum(data=file, label=label, encoded=True).SerializeToString()


def image_file(image: np.ndarray, extension: str = ".png", *options: int) -> bytes:
    done, data = cv2.imencode(extension, image, list(options))
    assert done
    return data.tobytes()
