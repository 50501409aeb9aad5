"""`caffe convert_mnist_data`: makes a database of MNIST's files, or of any in the same format."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from ..data.idx import read_idx_images, read_idx_labels
from ..data.lmdb_database import check_backend, create_database
from ..errors import DataError
from ..prototxt import schema
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Convert MNIST's files of images and labels to a database of records."
ARGUMENTS = "convert_mnist_data [flags] image_file label_file output_db"
FLAGS = {"backend": Flag("lmdb", "kind of database")}
_COMMIT_EVERY = 1000


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status (0 also after the usage text, as in Caffe)."""
    flags, arguments = parse_flags(argv, FLAGS)
    if len(arguments) != 3:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    check_backend(flags["backend"])
    convert(*arguments)
    return 0


def convert(image_file: str, label_file: str, database: str) -> None:
    """Make a database of an IDX file of images and one of labels; both may be compressed."""
    images, labels = read_idx_images(image_file), read_idx_labels(label_file)
    if len(images) != len(labels):
        raise DataError(f"{image_file} holds {len(images)} images, {label_file} {len(labels)} labels")
    log.info("A total of %d items.", len(images))
    log.info("Rows: %d Cols: %d", *images.shape[1:])
    write_records(database, images[:, None], labels, key_digits=8)
    log.info("Processed %d files.", len(images))


def write_records(
    path: str, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], key_digits: int
) -> None:
    """Write a database of images of shape (items, C, H, W); a record's key is its index."""
    _, channels, height, width = images.shape
    with create_database(path) as database:
        for index, (image, label) in enumerate(zip(images, labels)):
            datum = schema.Datum(
                channels=channels, height=height, width=width, data=image.tobytes(), label=int(label)
            )
            database.put(f"{index:0{key_digits}d}".encode(), datum.SerializeToString())
            if (index + 1) % _COMMIT_EVERY == 0:
                database.commit()
