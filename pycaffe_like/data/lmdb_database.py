"""LMDB databases of records: reading in the order of the keys, from any record on, and writing.

Databases are Caffe's: a folder with `data.mdb`, one unnamed table, key to serialized `Datum`.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import lmdb

from ..errors import ConfigError, DataError
from .lmdb_pages import check_pages

log = logging.getLogger("caffe")

_FIRST_MAP_BYTES = 10 << 20
_USE_LMDB = (
    'write "backend: LMDB" (LEVELDB is the default of data_param) and convert the database: run '
    "convert_imageset -backend lmdb on the images, or copy key by key with the packages plyvel and lmdb"
)


def check_backend(backend: str) -> None:
    """Refuse any backend but LMDB, saying how to get there.

    Parameters
    ----------
    backend : str
        Name of the backend, in any case: `LMDB`, `leveldb`.

    Raises
    ------
    ConfigError
        It is not LMDB.
    """
    if backend.lower() == "leveldb":
        raise ConfigError("databases of backend LEVELDB cannot be read", hint=_USE_LMDB)
    if backend.lower() != "lmdb":
        raise ConfigError(f"unknown database backend {backend!r}", hint="use lmdb")


class Database:
    """A database opened for reading.

    Parameters
    ----------
    path : Path
        The folder.

    Notes
    -----
    LMDB allows one open environment a folder and process, so `open_database` hands out the same object for
    the same folder while it is in use; it is closed with its last user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_pages(path)
        self._environment = _open_for_reading(path)
        with self._environment.begin() as transaction:
            self._entries = int(transaction.stat()["entries"])
        if self._entries == 0:
            raise DataError(f"database {path} is empty", hint="fill it with convert_imageset or a like tool")

    def __len__(self) -> int:
        return self._entries

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through all records once, as copies."""
        with Reader(self) as reader:
            for _ in range(self._entries):
                key, value = reader.next()
                yield key, bytes(value)

    def begin(self) -> lmdb.Transaction:
        """Begin a read transaction; its values are views of the map, valid until it ends."""
        return self._environment.begin(buffers=True)

    def __del__(self) -> None:
        environment = getattr(self, "_environment", None)
        if environment is not None:
            environment.close()


def _open_for_reading(path: Path) -> lmdb.Environment:
    """Open with LMDB's reader lock, or without it where the lock file cannot be written."""
    problem = ""
    for lock in (True, False):
        try:
            return lmdb.open(str(path), readonly=True, create=False, lock=lock, max_readers=1024)
        except lmdb.Error as error:
            problem = str(error)
    hint = "close the other lmdb.Environment first" if "already open" in problem else None
    raise DataError(f"database {path} cannot be opened: {problem}", hint=hint)


_OPEN: weakref.WeakValueDictionary[Path, Database] = weakref.WeakValueDictionary()
_OPEN_LOCK = threading.Lock()


def open_database(path: str | Path, backend: str = "lmdb") -> Database:
    """Open a database for reading.

    Parameters
    ----------
    path : str or Path
        The database's folder.
    backend : str, default "lmdb"
        Only LMDB can be read; the parameter is there to say so to users of LevelDB.

    Returns
    -------
    Database
        Its `len` is the number of records.

    Raises
    ------
    ConfigError
        The backend is not LMDB, or the folder holds LevelDB.
    MissingFileError
        There is no database.
    DataError
        It is empty, truncated, damaged or cannot be opened.

    Notes
    -----
    The file's meta pages are checked before it is mapped, since reading behind the end of a truncated file
    would end the process. While the database is open nobody may shorten the file.
    """
    check_backend(backend)
    folder = Path(path)
    if (folder / "CURRENT").is_file() and not (folder / "data.mdb").exists():
        raise ConfigError(f"{folder} is a LevelDB database", hint=_USE_LMDB)
    with _OPEN_LOCK:
        key = folder.resolve()
        database = _OPEN.get(key)
        if database is None:
            database = _OPEN[key] = Database(folder)
    log.info("Opened lmdb %s", path)
    return database


class Reader:
    """Reads records one after the other, in the order of their keys, and begins again after the last.

    Parameters
    ----------
    database : Database
    start : int, default 0
        Record to begin with, counted through all passes: `start` modulo the number of records is the place.

    Attributes
    ----------
    position : int
        Counter of the record that `next` returns; it never wraps. A reader that starts there goes on exactly.
    restarts : int
        How often the reader has begun again.

    Notes
    -----
    Values are views of the memory map: valid until `close`, and never to be written to.
    """

    def __init__(self, database: Database, start: int = 0) -> None:
        if start < 0:
            raise ValueError(f"start must not be negative, got {start}")
        self.database = database
        self.position = 0
        self.restarts = 0
        self._transaction = database.begin()
        self._cursor = self._transaction.cursor()
        self._place = -1  # of the cursor, within the database
        self.skip(start % len(database))
        self.position = start

    def next(self) -> tuple[bytes, memoryview]:
        """Return the next key and record.

        Raises
        ------
        DataError
            LMDB found damage, or the number of records is not what the database says.
        """
        self._advance()
        return _copy_key(self._cursor)

    def skip(self, count: int) -> None:
        """Pass over records without reading them."""
        for _ in range(count):
            self._advance()

    def after(self, key: bytes) -> tuple[bytes, memoryview]:
        """Return the record that follows `key` (the first one after the last), wherever the reader is."""
        with self._transaction.cursor() as cursor:
            if not (cursor.set_key(key) and cursor.next()):
                cursor.first()
            return _copy_key(cursor)

    def close(self) -> None:
        """End the reader; every value it returned becomes invalid."""
        self._cursor.close()
        self._transaction.abort()

    def _advance(self) -> None:
        entries = len(self.database)
        at_end = self._place == entries - 1
        try:
            found = self._cursor.next()  # of a new cursor: the first record
            if at_end and not found:
                found = self._cursor.first()
                at_end = False
                self.restarts += 1
        except lmdb.Error as error:
            raise DataError(
                f"database {self.database.path} is damaged near record {self._place + 1}: {error}"
            ) from None
        if at_end or not found:
            held = "more" if at_end else f"only {self._place + 1}"
            raise DataError(
                f"database {self.database.path} is damaged: it says {entries} records, but holds {held}"
            )
        self._place = (self._place + 1) % entries
        self.position += 1

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _copy_key(cursor: lmdb.Cursor) -> tuple[bytes, memoryview]:
    return bytes(cursor.key()), memoryview(cursor.value())


class DatabaseWriter:
    """A new database. Records are kept in memory until `commit` writes them in one transaction.

    Used in a `with` statement, it commits and closes at the end, unless an exception ended the block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: list[tuple[bytes, bytes]] = []
        try:
            path.mkdir(mode=0o744)
        except FileExistsError:
            raise DataError(f"{path} exists already", hint="remove it, or choose another name") from None
        except OSError as error:
            raise DataError(f"database {path} cannot be made: {error.strerror}") from None
        self._environment = lmdb.open(str(path), map_size=_FIRST_MAP_BYTES, mode=0o664)

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record to the next commit."""
        self._pending.append((key, value))

    def commit(self) -> None:
        """Write the records added since the last commit, in a map as large as it takes."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._pending:
                        transaction.put(key, value)
                self._pending.clear()
                return
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            except lmdb.Error as error:
                raise DataError(f"database {self.path} cannot be written: {error}") from None

    def close(self) -> None:
        """Close the database; records that were not committed are lost."""
        self._environment.close()

    def __enter__(self) -> DatabaseWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        self.close()


def create_database(path: str | Path, backend: str = "lmdb") -> DatabaseWriter:
    """Make a new database.

    Parameters
    ----------
    path : str or Path
        Folder that does not exist yet; its parent does.
    backend : str, default "lmdb"
        Only LMDB can be written.

    Returns
    -------
    DatabaseWriter

    Raises
    ------
    ConfigError
        The backend is not LMDB.
    DataError
        The folder exists, or cannot be made.
    """
    check_backend(backend)
    writer = DatabaseWriter(Path(path))
    log.info("Opened lmdb %s", path)
    return writer
