"""Is an LMDB file whole? Looked up in its two meta pages before LMDB maps the file.

LMDB reads through a memory map and has no checksums: a page that lies behind the end of a truncated file
kills the process with SIGBUS, which no `except` can catch. So the file is held against its own table of
contents first. A file that is cut while it is mapped cannot be defended against.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, MissingFileError

_MAGIC = 0xBEEFC0DE
_META_BYTES = 152  # page header of 16 bytes, then the meta data
_MIN_PAGE, _MAX_PAGE = 512, 65536
_NO_ROOT = 2**64 - 1
# A writer may have counted a few last pages it did not need in the end; such a file is legal.
_UNWRITTEN_PAGES = 16
_SCAN_SECONDS = 60.0
_SCAN = """
import sys, lmdb
with lmdb.open(sys.argv[1], readonly=True, lock=False) as env, env.begin(buffers=True) as txn:
    count = sum(1 + 0 * sum(bytes(value)) for value in txn.cursor().iternext(keys=False))
    sys.exit(count != txn.stat()["entries"])
"""


class _Meta(NamedTuple):
    page_bytes: int
    entries: int
    root: int
    last_page: int
    transaction: int


def _parse_meta(page: bytes) -> _Meta | None:
    """Read one meta page; None if it is not one."""
    if len(page) < _META_BYTES:
        return None
    magic, version = struct.unpack_from("<II", page, 16)
    (page_bytes,) = struct.unpack_from("<I", page, 40)
    entries, root, last_page, transaction = struct.unpack_from("<QQQQ", page, 120)
    power_of_two = page_bytes & (page_bytes - 1) == 0
    if magic != _MAGIC or version != 1 or not power_of_two or not _MIN_PAGE <= page_bytes <= _MAX_PAGE:
        return None
    return _Meta(page_bytes, entries, root, last_page, transaction)


def _read_metas(data_file: Path) -> list[_Meta]:
    with data_file.open("rb") as file:
        first = _parse_meta(file.read(_META_BYTES))
        if first is None:
            return []
        file.seek(first.page_bytes)
        second = _parse_meta(file.read(_META_BYTES))
    return [first] if second is None else [first, second]


def _survives_a_scan(folder: Path) -> bool:
    """Read every byte of every record in a process of its own, which may die of it."""
    command = [sys.executable, "-c", _SCAN, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SCAN_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def check_pages(folder: Path) -> None:
    """Make sure that an LMDB folder holds all the pages its meta pages promise.

    Parameters
    ----------
    folder : Path
        The database: a folder with `data.mdb`.

    Raises
    ------
    MissingFileError
        There is no such database.
    DataError
        The file is not LMDB, damaged or truncated.
    """
    data_file = folder / "data.mdb"
    if not data_file.is_file():
        raise MissingFileError(
            f"there is no LMDB database at {folder}", hint="a database is a folder that holds data.mdb"
        )
    metas = _read_metas(data_file)
    if len(metas) != 2 or metas[0].page_bytes != metas[1].page_bytes:
        raise DataError(f"{data_file} is not an LMDB file, or its first pages are damaged", hint=_COPY_AGAIN)
    meta = max(metas, key=lambda meta: meta.transaction)
    if meta.root != _NO_ROOT and not 2 <= meta.root <= meta.last_page:
        raise DataError(f"{data_file} is damaged: its root lies on page {meta.root}", hint=_COPY_AGAIN)
    held = data_file.stat().st_size
    missing = (meta.last_page + 1) * meta.page_bytes - held
    nearly_whole = missing <= _UNWRITTEN_PAGES * meta.page_bytes
    if missing > 0 and not (nearly_whole and _survives_a_scan(folder)):
        raise DataError(
            f"{data_file} is truncated or damaged: it holds {held} bytes, {held + missing} are in use",
            hint=_COPY_AGAIN,
        )


_COPY_AGAIN = "copy the database again, or make it anew with convert_imageset"
