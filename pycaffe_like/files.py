"""Opens the files that users, nets and lists name, for reading: regular files only, and without waiting.

A pipe in place of a file would make the process wait for ever, a device give data without an end. Whoever
reads a file in this package opens it here.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    OSError
        It cannot be opened (`FileNotFoundError` where there is none), or is not a regular file; `strerror`
        says why, in words for the user.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError:
        raise OSError(errno.EINVAL, "a name cannot hold a zero byte", repr(path)) from None
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            problem = f"it is {_KINDS.get(kind, 'something else')}, not a file"
            raise OSError(errno.EINVAL, problem, os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a whole regular file of at most so many bytes.

    Raises
    ------
    OSError
        As for `open_regular`, or the file is longer.
    """
    with open_regular(path) as stream:
        data = b"" if os.fstat(stream.fileno()).st_size > most else stream.read(most + 1)
        if data is None:  # files of /proc may have nothing to give yet
            raise OSError(errno.EAGAIN, "it has no data", os.fspath(path))
        if len(data) > most or os.fstat(stream.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", os.fspath(path))
    return data
