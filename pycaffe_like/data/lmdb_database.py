"""LMDB databases of records: reading in the order of the keys, from any record on, and writing.

Databases are Caffe's: a folder with `data.mdb`, one unnamed table, key to serialized `Datum`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt

from .. import _core
from ..errors import ConfigError, DataError, MissingFileError

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
    Read by our own code instead of LMDB's library, which would end the process with SIGBUS at a truncated or
    damaged file and refuse to open a database twice. Nobody may write to it meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "data.mdb").is_file():
            hint = "a database is a folder that holds data.mdb"
            raise MissingFileError(f"there is no LMDB database at {path}", hint=hint)
        try:
            self.file = _core.LmdbFile(path / "data.mdb")
        except RuntimeError as error:
            raise self.damaged(str(error)) from None
        if len(self) == 0:
            raise DataError(f"database {path} is empty", hint="fill it with convert_imageset or a like tool")

    def __len__(self) -> int:
        return len(self.file)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through all records once."""
        reader = Reader(self)
        for _ in range(len(self)):
            yield reader.next()

    @cached_property
    def index(self) -> tuple[list[bytes], npt.NDArray[np.uint64]]:
        """Keys and places of all records, for who does not want them in order; see `Reader.locate`."""
        return Reader(self).locate(len(self))

    def cursor(self) -> Any:
        """Return a cursor before the first record."""
        return _core.LmdbCursor(self.file)

    def read(self, places: npt.NDArray[np.uint64], into: npt.NDArray[np.uint8]) -> None:
        """Read the values at these places (see `Reader.locate`), one behind the other."""
        try:
            self.file.read(places, into)
        except RuntimeError as error:
            raise self.damaged(str(error)) from None

    def damaged(self, problem: str) -> DataError:
        """Word the error for a database that cannot be read."""
        return DataError(
            f"database {self.path} cannot be read: {problem}",
            hint="copy the database again, or make it anew with convert_imageset",
        )


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
    """
    check_backend(backend)
    folder = Path(path)
    if (folder / "CURRENT").is_file() and not (folder / "data.mdb").exists():
        raise ConfigError(f"{folder} is a LevelDB database", hint=_USE_LMDB)
    database = Database(folder)
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
    """

    def __init__(self, database: Database, start: int = 0) -> None:
        if start < 0:
            raise ValueError(f"start must not be negative, got {start}")
        self.database = database
        self.restarts = 0
        self._cursor = database.cursor()
        self._place = 0  # records passed since the first one, at most all
        self._last_key: bytes | None = None
        self.position = start - start % len(database)
        self.skip(start % len(database))

    def next(self) -> tuple[bytes, bytes]:
        """Return the next key and record.

        Raises
        ------
        DataError
            The database is damaged, or the number of its records is not what it says.
        """
        self._turn_around_at_end()
        record: tuple[bytes, bytes] | None = self._checked(self._cursor.next)
        self._move(1, 0 if record is None else 1)
        assert record is not None  # else _move has raised
        self._last_key = record[0]
        return record

    def locate(self, count: int) -> tuple[list[bytes], npt.NDArray[np.uint64]]:
        """Pass over records; return their keys and the places of their values, for `Database.read`.

        Raises
        ------
        DataError
            As `next`.
        """
        keys: list[bytes] = []
        places = []
        while len(keys) < count:
            self._turn_around_at_end()
            before, wanted = len(keys), min(count - len(keys), len(self.database) - self._place)
            try:
                places.append(self._checked(self._cursor.locate, wanted, keys))
            finally:
                self._last_key = keys[-1] if keys else self._last_key
            self._move(wanted, len(keys) - before)
        return keys, np.concatenate(places)

    def skip(self, count: int) -> None:
        """Pass over records without reading them."""
        while count > 0:
            self._turn_around_at_end()
            wanted = min(count, len(self.database) - self._place)
            self._move(wanted, self._checked(self._cursor.skip, wanted))
            count -= wanted

    def after(self, key: bytes) -> tuple[bytes, bytes]:
        """Return the record that follows `key` (the first one after the last), wherever the reader is."""
        cursor = self.database.cursor()
        record: tuple[bytes, bytes] | None = self._checked(cursor.after, key)
        return record or self._checked(self.database.cursor().next)

    def _turn_around_at_end(self) -> None:
        if self._place < len(self.database):
            return
        if self._checked(self._cursor.skip, 1):
            raise self._damaged(f"it says {len(self.database)} records, but holds more")
        self._place = 0  # past the end, the cursor's next move is to the first record
        self.restarts += 1

    def _move(self, wanted: int, done: int) -> None:
        self._place += done
        self.position += done
        if done < wanted:
            raise self._damaged(f"it says {len(self.database)} records, but holds only {self._place}")

    def _checked(self, function: Callable[..., Any], *arguments: object) -> Any:
        try:
            return function(*arguments)
        except RuntimeError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, problem: str) -> DataError:
        where = f"after key {self._last_key!r}: " if self._last_key else ""
        return self.database.damaged(where + problem)


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
