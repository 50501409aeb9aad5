"""`caffe compute_image_mean`: the mean of a database's images, pixel by pixel and channel by channel."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from .. import _core
from ..data.lmdb_database import Database, open_database
from ..data.mean_file import write_mean
from ..data.transformer import TRAIN, Transformer
from ..errors import DataError
from ..prototxt import schema
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Compute the mean image of a database of records."
ARGUMENTS = "compute_image_mean [flags] INPUT_DB [OUTPUT_FILE]"
FLAGS = {"backend": Flag("lmdb", "kind of database")}
_LOG_EVERY = 10000


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, arguments = parse_flags(argv, FLAGS)
    if len(arguments) not in (1, 2):
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 1
    database = open_database(arguments[0], flags["backend"])
    mean = compute_mean(database)
    if len(arguments) == 2:
        log.info("Write to %s", arguments[1])
        write_mean(arguments[1], mean)
    log.info("Number of channels: %d", len(mean))
    for channel, plane in enumerate(mean):
        one_by_one = np.cumsum(plane)  # Caffe's order of summation, so its last digit
        log.info("mean_value channel [%d]: %g", channel, one_by_one[-1] / np.float32(plane.size))
    return 0


def compute_mean(database: Database) -> npt.NDArray[np.float32]:
    """Return the mean image of a database, shape (C, H, W), summed in float32 as Caffe does.

    Raises
    ------
    DataError
        A record is bad, or of another size than the first.
    """
    total: npt.NDArray[np.float32] | None = None
    log.info("Starting iteration")
    for count, (key, record) in enumerate(database, 1):
        try:
            pixels = read_pixels(record)
            if total is not None and pixels.shape != total.shape:
                raise ValueError(f"the image is of {pixels.shape} (C, H, W), the first one of {total.shape}")
        except ValueError as error:
            raise DataError(
                f"database {database.path}, key {key.decode(errors='replace')!r}: {error}"
            ) from None
        total = pixels if total is None else total + pixels
        if count % _LOG_EVERY == 0:
            log.info("Processed %d files.", count)
    assert total is not None  # an open database is not empty
    if len(database) % _LOG_EVERY != 0:
        log.info("Processed %d files.", len(database))
    total /= np.float32(len(database))
    return total


_AS_STORED = Transformer(schema.TransformationParameter(), TRAIN)


def read_pixels(record: bytes) -> npt.NDArray[np.float32]:
    """Return the image of a record, shape (C, H, W), decoded as it is stored.

    Raises
    ------
    ValueError
        The record or its image is bad.
    """
    infos, problems = _core.parse_datums([record])
    for _, problem in problems:
        raise ValueError(problem)
    info = infos[0]
    channels, height, width = (int(info[name]) for name in ("channels", "height", "width"))
    item: bytes | npt.NDArray[np.uint8] = record
    if info["encoded"]:
        start = int(info["data_offset"])
        item = _AS_STORED.decode(record[start : start + int(info["data_size"])], int(info["bit_depth"]))
        height, width, channels = item.shape
    pixels = np.empty((1, channels, height, width), dtype=np.float32)
    crops = _AS_STORED.draw_crops(np.zeros(1, np.int64), np.array([height]), np.array([width]))
    for _, problem in _AS_STORED.transform([item], crops, pixels):
        raise ValueError(problem)
    image: npt.NDArray[np.float32] = pixels[0]
    return image
