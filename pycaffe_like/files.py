"""Opens the files that users, nets and lists name, for reading: regular files only, and without waiting.

A pipe in place of a file would make the process wait for ever, a device give data without an end. Whoever
reads a file in this package opens it here. So does whoever writes a temporary file beside another: under a
name that nobody can have put a link at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
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


def create_temporary(path: str) -> tuple[int, str]:
    """Create a file beside the one that it will replace.

    Returns
    -------
    descriptor : int
        Open for writing.
    name : str
        ``<path>.<16 random digits>.tmp``; `remove_leftovers` finds it if the process is killed.

    Raises
    ------
    OSError
    """
    while True:
        name = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            return os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
            ), name
        except FileExistsError:
            continue


def remove_leftovers(path: str) -> None:
    """Remove temporary files for this path, which a process that was killed has left. Never fails."""
    folder, name = os.path.split(path)
    leftover = re.compile(re.escape(name) + r"\.[0-9a-f]{16}\.tmp")
    with contextlib.suppress(OSError):
        for other in os.listdir(folder or "."):
            if leftover.fullmatch(other):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, other))
