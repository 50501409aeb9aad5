"""`caffe dataset`: makes the databases of a well-known data set, from files at hand or downloaded."""

from __future__ import annotations

import hashlib
import logging
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, DataError, MissingFileError, nearest
from ..files import open_regular
from . import convert_cifar_data, convert_mnist_data
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Make the training and test database of a well-known data set."
ARGUMENTS = "dataset [flags] fashion-mnist|mnist|cifar10"
FLAGS = {
    "from": Flag("", "folder that holds the data set's files, plain, .gz or .xz; else they are downloaded"),
    "output": Flag(".", "folder to make <name>_train_lmdb and <name>_test_lmdb in"),
}
_TIMEOUT_SECONDS = 60
_BLOCK_BYTES = 1 << 20


class DataSet(NamedTuple):
    """Where a data set's files are, and what becomes of them."""

    homes: tuple[str, ...]  # addresses to put a file's name behind
    files: dict[str, str]  # name to SHA-256
    convert: Callable[[str, Path, Path], None]  # name, folder of the files, output folder


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, arguments = parse_flags(argv, FLAGS)
    if len(arguments) != 1:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 1
    name = arguments[0]
    if name not in DATA_SETS:
        hint = nearest(name, DATA_SETS) or f"known: {', '.join(DATA_SETS)}"
        raise ConfigError(f"unknown data set {name!r}", hint=hint)
    output = Path(flags["output"])
    output.mkdir(parents=True, exist_ok=True)
    data_set = DATA_SETS[name]
    if flags["from"]:
        data_set.convert(name, Path(flags["from"]), output)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for file, checksum in data_set.files.items():
            _download(data_set.homes, file, checksum, Path(folder))
        data_set.convert(name, Path(folder), output)
    return 0


def _convert_idx(name: str, folder: Path, output: Path) -> None:
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = _find(folder, f"{prefix}-images-idx3-ubyte")
        labels = _find(folder, f"{prefix}-labels-idx1-ubyte")
        convert_mnist_data.convert(str(images), str(labels), str(output / f"{name}_{part}_lmdb"))


def _find(folder: Path, name: str) -> Path:
    for suffix in ("", ".gz", ".xz"):
        path = folder / (name + suffix)
        if path.is_file():
            return path
    raise MissingFileError(f"{folder} holds no file {name}, {name}.gz or {name}.xz")


def _convert_cifar(name: str, folder: Path, output: Path) -> None:
    archive = folder / "cifar-10-binary.tar.gz"
    for source in (folder, folder / "cifar-10-batches-bin"):
        if (source / convert_cifar_data.TEST_FILES[0]).is_file():
            return convert_cifar_data.convert(source, output)
    if not archive.is_file():
        raise MissingFileError(f"{folder} holds neither {archive.name} nor data_batch_1.bin and so on")
    with tempfile.TemporaryDirectory() as unpacked:
        _unpack_cifar(archive, Path(unpacked))
        return convert_cifar_data.convert(Path(unpacked), output)


def _unpack_cifar(archive: Path, folder: Path) -> None:
    """Write the files wanted, by names of our own: an archive may hold any path."""
    wanted = {*convert_cifar_data.TRAIN_FILES, *convert_cifar_data.TEST_FILES}
    try:
        with open_regular(archive) as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if name in wanted else None
                if content is not None:
                    (folder / name).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} is damaged: {error}") from None


def _download(homes: tuple[str, ...], name: str, checksum: str, folder: Path) -> None:
    """Fetch a file from the first home that has it as it should be."""
    problems = []
    for home in homes:
        address = home + name
        log.info("Downloading %s", address)
        try:
            got = _fetch(address, folder / name)
        except (urllib.error.URLError, OSError) as error:
            problems.append(f"{address}: {getattr(error, 'reason', error)}")
            continue
        if got == checksum:
            return
        problems.append(f"{address}: the file's SHA-256 is {got}, not {checksum}")
    raise DataError(
        f"{name} cannot be downloaded\n  " + "\n  ".join(problems),
        hint="without a network, put the data set's files into a folder and name it: --from FOLDER",
    )


def _fetch(address: str, path: Path) -> str:
    """Download to a file; return its SHA-256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as response, path.open("wb") as file:
        while block := response.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


DATA_SETS = {
    "fashion-mnist": DataSet(
        homes=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        files={
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        convert=_convert_idx,
    ),
    "mnist": DataSet(
        homes=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        convert=_convert_idx,
    ),
    "cifar10": DataSet(
        homes=("https://www.cs.toronto.edu/~kriz/",),
        files={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        convert=_convert_cifar,
    ),
}
