"""`caffe convert_imageset`: makes a database of the images a list file names."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from .. import _core
from ..data import decode
from ..data.lmdb_database import check_backend, create_database
from ..errors import ConfigError, DataError, MissingFileError, Position
from ..files import read_bytes
from ..prototxt import schema
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Convert a set of images to a database of records."
ARGUMENTS = "convert_imageset [flags] ROOTFOLDER/ LISTFILE DB_NAME"
FLAGS = {
    "gray": Flag(False, "decode images to gray"),
    "shuffle": Flag(False, "store the images in random order"),
    "backend": Flag("lmdb", "kind of database"),
    "resize_width": Flag(0, "width to resize to"),
    "resize_height": Flag(0, "height to resize to"),
    "check_size": Flag(False, "make sure that all images have the same size"),
    "encoded": Flag(False, "store image files instead of pixels"),
    "encode_type": Flag("", "format of stored image files: png, jpg, ..."),
}
_COMMIT_EVERY = 1000
_MOST_LIST_BYTES = 1 << 30


class Entry(NamedTuple):
    """A line of the list file."""

    path: str
    label: int


class Options(NamedTuple):
    """How images are stored."""

    gray: bool = False
    width: int = 0
    height: int = 0
    encoded: bool = False
    encode_type: str = ""

    @property
    def resizes(self) -> bool:
        """Whether images are resized: only with both sizes."""
        return self.width > 0 and self.height > 0


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, arguments = parse_flags(argv, FLAGS)
    if len(arguments) < 3:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 1
    if flags["encode_type"] and not flags["encoded"]:
        log.info("encode_type specified, assuming encoded=true.")
    check_backend(flags["backend"])
    options = Options(
        gray=flags["gray"],
        width=max(0, flags["resize_width"]),
        height=max(0, flags["resize_height"]),
        encoded=flags["encoded"] or bool(flags["encode_type"]),
        encode_type=flags["encode_type"],
    )
    if flags["check_size"] and options.encoded:
        raise ConfigError("check_size cannot check encoded images", hint="leave out -check_size")
    root, list_file, path = arguments[:3]
    entries = read_image_list(list_file)
    if flags["shuffle"]:
        log.info("Shuffling data")
        random.shuffle(entries)
    elif _is_sorted_by_label(entries):
        log.warning(
            "%s: all images of a class stand together, so that a batch holds one class only and training "
            "learns little; -shuffle mixes them",
            list_file,
        )
    log.info("A total of %d images.", len(entries))
    _write_database(path, root, entries, options, check_size=flags["check_size"])
    return 0


def read_image_list(path: str) -> list[Entry]:
    """Read a list of images: ``<path> <label>`` a line, split at the last blank.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of Entry
        One a line. A label that is not a number counts as 0, as in Caffe.

    Raises
    ------
    MissingFileError, DataError
        There is no such file, or it cannot be read.
    """
    try:
        lines = read_bytes(path, _MOST_LIST_BYTES).decode(errors="surrogateescape").split("\n")
    except FileNotFoundError:
        raise MissingFileError(f"there is no list file {path}") from None
    except OSError as error:
        raise DataError(f"list file {path} cannot be read: {error.strerror}") from None
    if lines[-1] == "":
        lines.pop()
    return [_parse_line(path, number, line) for number, line in enumerate(lines, 1)]


def _is_sorted_by_label(entries: Sequence[Entry]) -> bool:
    """Whether each class, of two or more with two images or more on average, stands in one piece."""
    labels = [entry.label for entry in entries]
    classes = len(set(labels))
    pieces = 1 + sum(before != after for before, after in pairwise(labels))
    return classes > 1 and len(labels) >= 2 * classes and pieces == classes


def _parse_line(file: str, number: int, line: str) -> Entry:
    image, blank, text = line.rpartition(" ")
    label = _leading_int(text)
    if not -(2**31) <= label < 2**31:
        raise ConfigError(
            f"label {label} is not an int of 32 bits", where=Position(file, number, len(image) + 2)
        )
    return Entry(image if blank else line, label)


def _leading_int(text: str) -> int:
    """Read the number a text begins with, 0 without one (C's `atoi`)."""
    text = text.strip()
    digits = len(text)
    while digits > 0:
        try:
            return int(text[:digits])
        except ValueError:
            digits -= 1
    return 0


def _write_database(
    path: str, root: str, entries: Sequence[Entry], options: Options, *, check_size: bool
) -> None:
    count = 0
    first_size: int | None = None
    with create_database(path) as database:
        for index, entry in enumerate(entries):
            try:
                datum = make_datum(root + entry.path, entry.label, options)
            except DataError as error:
                log.error("%s", error)
                continue
            if check_size:
                first_size = len(datum.data) if first_size is None else first_size
                _check_size(entry.path, len(datum.data), first_size)
            key = f"{index:08d}_{entry.path}".encode(errors="surrogateescape")
            database.put(key, datum.SerializeToString())
            count += 1
            if count % _COMMIT_EVERY == 0:
                database.commit()
                log.info("Processed %d files.", count)
    if count % _COMMIT_EVERY != 0:
        log.info("Processed %d files.", count)


def _check_size(path: str, got: int, first: int) -> None:
    if got != first:
        raise DataError(
            f"image {path} has {got} values, the first one has {first}",
            hint="resize all to one size: -resize_width and -resize_height",
        )


def make_datum(path: str, label: int, options: Options) -> Any:
    """Read an image file into a record.

    Parameters
    ----------
    path : str
    label : int
    options : Options

    Returns
    -------
    Datum
        Pixels (blue, green, red planes), or an image file where `options.encoded`: the file's own bytes if
        nothing about it changes, else the image encoded anew.

    Raises
    ------
    DataError
        The file cannot be read or is not an image.
    """
    file = decode.read_image_file(path)
    image = _decode(path, file, options)
    if options.encoded:
        image_type = options.encode_type or _extension(path)
        unchanged = not options.resizes and _same_type(_extension(path), image_type)
        data = file if unchanged else _encode(path, image, image_type)
        _check_loads(path, data)
        return schema.Datum(data=data, label=label, encoded=True)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    channels, height, width = planes.shape
    return schema.Datum(
        channels=channels, height=height, width=width, data=planes.tobytes(), label=label, encoded=False
    )


def _decode(path: str, file: bytes, options: Options) -> npt.NDArray[np.uint8]:
    """Decode to gray or colour, and resize if asked."""
    image = decode.decode_named(path, file, cv2.IMREAD_GRAYSCALE if options.gray else cv2.IMREAD_COLOR)
    if options.resizes:
        image = np.asarray(cv2.resize(image, (options.width, options.height)), dtype=np.uint8)
    return image if image.ndim == 3 else image[:, :, None]


def _check_loads(path: str, data: bytes) -> None:
    """Refuse a file that the data layer would refuse."""
    try:
        _core.read_image_header(data)
    except ValueError as error:
        raise DataError(f"Could not store {path}: {error}") from None


def _encode(path: str, image: npt.NDArray[np.uint8], image_type: str) -> bytes:
    try:
        done, data = cv2.imencode(f".{image_type}", image)
    except cv2.error as error:
        raise ConfigError(
            f"image {path} cannot be encoded as {image_type!r}: {error.err}",
            hint="set -encode_type to jpg or png",
        ) from None
    if not done:
        raise ConfigError(
            f"image {path} cannot be encoded as {image_type!r}", hint="set -encode_type to jpg or png"
        )
    return bytes(data.tobytes())


def _extension(path: str) -> str:
    name, dot, extension = path.rpartition(".")
    return extension.lower() if dot else name.lower()


def _same_type(a: str, b: str) -> bool:
    jpeg = {"jpg", "jpeg"}
    return a == b.lower() or {a, b.lower()} <= jpeg
