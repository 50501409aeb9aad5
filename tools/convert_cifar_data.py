"""`caffe convert_cifar_data`: makes databases of CIFAR-10's binary files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.lmdb_database import check_backend
from ..errors import DataError, MissingFileError
from ..files import read_bytes
from .convert_mnist_data import write_records
from .flags import format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Convert CIFAR-10's binary files to databases of records."
ARGUMENTS = "convert_cifar_data input_folder output_folder db_type"
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES = ("test_batch.bin",)
_IMAGE_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
_MOST_BYTES = 1 << 30


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    _, arguments = parse_flags(argv, {})
    if len(arguments) != 3:
        print(format_usage(SUMMARY, ARGUMENTS, {}))
        return 0
    input_folder, output_folder, backend = arguments
    check_backend(backend)
    convert(Path(input_folder), Path(output_folder), backend)
    return 0


def convert(input_folder: Path, output_folder: Path, backend: str = "lmdb") -> None:
    """Make `cifar10_train_<backend>` and `cifar10_test_<backend>`. The images stay RGB, unlike any others."""
    log.info("Writing Training data")
    _convert_files([input_folder / name for name in TRAIN_FILES], output_folder / f"cifar10_train_{backend}")
    log.info("Writing Testing data")
    _convert_files([input_folder / name for name in TEST_FILES], output_folder / f"cifar10_test_{backend}")


def _convert_files(files: list[Path], database: Path) -> None:
    images, labels = zip(*(_read_batch(file) for file in files))
    write_records(str(database), np.concatenate(images), np.concatenate(labels), key_digits=5)


def _read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read one file: records of a label and the planes red, green, blue."""
    try:
        content = np.frombuffer(read_bytes(path, _MOST_BYTES), dtype=np.uint8)
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no file {path}", hint="unpack cifar-10-binary.tar.gz there"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if content.size == 0 or content.size % _RECORD_BYTES:
        raise DataError(f"{path} is damaged: {content.size} bytes are not whole records of {_RECORD_BYTES}")
    records = content.reshape(-1, _RECORD_BYTES)
    return records[:, 1:].reshape(-1, *_IMAGE_SHAPE), records[:, 0]
