"""Log lines in glog's form, which log scrapers rely on, and a progress line for terminals.

Everything in the package logs to `logging.getLogger("caffe")`; a line reads

    I0305 09:07:41.002913  4711 solver.py:239] Iteration 40, lr = 0.01

The date has four digits as in the glog of Caffe's time: scrapers count characters.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

log = logging.getLogger("caffe")

_LETTERS = {
    logging.DEBUG: "I",
    logging.INFO: "I",
    logging.WARNING: "W",
    logging.ERROR: "E",
    logging.CRITICAL: "F",
}
_GLOG_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class GlogFormatter(logging.Formatter):
    """Words a record as glog does; the message may span lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Put severity, date, time, thread and place before the message."""
        moment = datetime.fromtimestamp(record.created)
        prefix = (
            f"{_LETTERS.get(record.levelno, 'I')}{moment:%m%d %H:%M:%S.%f} "
            f"{threading.get_native_id():5d} {record.filename}:{record.lineno}] "
        )
        text = prefix + record.getMessage()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class ProgressBar:
    """One line at the bottom of a terminal: how far training is. Draws nothing when the stream is piped.

    Parameters
    ----------
    stream : text stream, optional
        Where to draw; standard error by default.
    """

    WIDTH = 30  # characters of the bar
    INTERVAL_S = 0.1  # between two drawings

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._next_s = 0.0
        self._drawn = False

    def update(self, done: int, total: int, loss: float) -> None:
        """Show that `done` of `total` iterations are done."""
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + self.INTERVAL_S
        stream = self.stream or sys.stderr
        if total <= 0 or not stream.isatty():
            self._next_s = float("inf")
            return
        filled = min(self.WIDTH, self.WIDTH * done // total)
        bar = "#" * filled + "." * (self.WIDTH - filled)
        stream.write(f"\r\x1b[K[{bar}] {done}/{total}  loss {loss:g}")
        stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the line off the terminal, so that a log line can be written."""
        if self._drawn:
            stream = self.stream or sys.stderr
            stream.write("\r\x1b[K")
            stream.flush()
            self._drawn = False


progress = ProgressBar()


if TYPE_CHECKING:
    _TextHandler = logging.StreamHandler[TextIO]
else:  # takes no parameter before Python 3.11
    _TextHandler = logging.StreamHandler


class GlogHandler(_TextHandler):
    """Writes to what `sys.stderr` is at that moment, after clearing the progress line."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(GlogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.stream = sys.stderr
        progress.clear()
        super().emit(record)


def minimum_level() -> int:
    """Read the environment variable GLOG_minloglevel: 0 all lines, 1 warnings, 2 errors, 3 fatal ones."""
    text = os.environ.get("GLOG_minloglevel", "0")  # noqa: SIM112 - glog's own name
    return _GLOG_LEVELS[min(int(text), 3)] if text.isdigit() else logging.INFO


def install(level: int | None = None) -> None:
    """Let the package's log go to standard error in glog's form. Calling it again only sets the level.

    Parameters
    ----------
    level : int, optional
        glog's minimum severity, 0 (all lines) to 3 (fatal ones); GLOG_minloglevel by default.
    """
    log.setLevel(minimum_level() if level is None else _GLOG_LEVELS[max(0, min(level, 3))])
    if not any(isinstance(handler, GlogHandler) for handler in log.handlers):
        log.addHandler(GlogHandler())
        log.propagate = False
