"""Keeps two trainings from writing each other's snapshots."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from contextlib import suppress
from types import TracebackType

from ..errors import ConfigError

log = logging.getLogger("caffe")


class RunLock:
    """A lock on a `snapshot_prefix` while a training is alive.

    The system drops the lock with its process, however that ends: a file that a kill leaves behind locks
    nothing, and the next run takes it over.

    Parameters
    ----------
    prefix : str
        The lock is on the file `<prefix>.lock`.

    Raises
    ------
    ConfigError
        On entering, if another training holds it or the file cannot be made.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.path = f"{prefix}.lock"
        self._descriptor = -1

    def __enter__(self) -> RunLock:
        try:
            while not self._take():
                pass
        except BlockingIOError:
            raise ConfigError(
                f"another training with snapshot_prefix '{self.prefix}' is running",
                hint="wait for its end, or set another snapshot_prefix",
            ) from None
        except OSError as error:
            raise ConfigError(
                f"cannot lock '{self.path}': {error.strerror}", hint="check the folder of snapshot_prefix"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            os.unlink(self.path)  # before the lock is dropped: whoever comes next makes a new file
        os.close(self._descriptor)

    def _take(self) -> bool:
        """Lock the file; False if its holder removed it meanwhile, so that the lock is worth nothing."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path)):
                return True
        except FileNotFoundError:
            pass
        except OSError:
            os.close(self._descriptor)
            raise
        os.close(self._descriptor)
        return False


def require_no_snapshots(prefix: str, stop: int) -> None:
    """Refuse to train up to iteration `stop` where snapshots of another run would be replaced.

    Raises
    ------
    ConfigError
        With the first of them.
    """
    folder, stem = os.path.split(prefix)
    pattern = re.compile(re.escape(stem) + r"_iter_(\d+)\.(?:caffemodel|solverstate)")
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return  # `probe` says so better
    found = [name for name in names if (match := pattern.fullmatch(name)) and int(match[1]) <= stop]
    if found:
        raise ConfigError(
            f"'{os.path.join(folder, found[0])}' is a snapshot of another run and would be overwritten",
            hint="-overwrite replaces it, -snapshot FILE goes on from it; or set another snapshot_prefix",
        )
