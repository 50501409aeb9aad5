"""Reading files that somebody else names: whole, regular and of bounded size, or not at all."""

from __future__ import annotations

import os
import stat

from ..errors import DataError, MissingFileError


def require_regular_file(path: str | bytes) -> None:
    """Refuse what is missing, or is a folder, a pipe or a device; for readers that open a path themselves.

    Raises
    ------
    MissingFileError, DataError
        Naming no path, so that the caller says what it is to the user.
    """
    os.close(_open(path))


def read_regular_file(path: str | bytes, most_bytes: int) -> bytes:
    """Read a whole file.

    Parameters
    ----------
    path : str or bytes
    most_bytes : int
        Size above which it is refused.

    Raises
    ------
    MissingFileError, DataError
        There is no such file, or it is not a regular one (a pipe could keep its reader waiting for ever), too
        large, or not readable. The message names no path.
    """
    with open(_open(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise DataError(f"it has {size} bytes, over the limit of {most_bytes}")
        try:
            return file.read(most_bytes)
        except OSError as error:
            raise DataError(f"it cannot be read: {error.strerror}") from None


def _open(path: str | bytes) -> int:
    """Open a regular file, without waiting for a pipe's writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MissingFileError("there is no such file") from None
    except OSError as error:
        raise DataError(f"it cannot be opened: {error.strerror}") from None
    except ValueError:
        raise DataError("its name holds a zero byte") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError("it is not a regular file")
    return descriptor
