"""Turns SIGINT (Ctrl-C) and SIGHUP into requests that a solver polls between iterations."""

from __future__ import annotations

import enum
import signal
from types import FrameType, TracebackType
from typing import Any

from ..errors import ConfigError, nearest


class Action(enum.Enum):
    """What a solver is asked to do."""

    NONE = "none"
    STOP = "stop"
    SNAPSHOT = "snapshot"


def parse_action(text: str, flag: str) -> Action:
    """Read the value of `-sigint_effect` or `-sighup_effect`."""
    known = [action.value for action in Action]
    if text not in known:
        hint = nearest(text, known) or f"known effects: {', '.join(known)}"
        raise ConfigError(f"-{flag}: unknown effect '{text}'", hint=hint)
    return Action(text)


class SignalActions:
    """Catches the two signals while it is entered; `poll` hands out one request at a time.

    Parameters
    ----------
    sigint, sighup : Action
        What each signal asks for.

    Notes
    -----
    SIGHUP is looked at first, and each poll takes one signal, as in Caffe. Enter it in the main thread.

    Examples
    --------
    >>> with SignalActions() as actions:
    ...     signal.raise_signal(signal.SIGINT)
    ...     print(actions.poll(), actions.poll())
    Action.STOP Action.NONE
    """

    def __init__(self, sigint: Action = Action.STOP, sighup: Action = Action.SNAPSHOT) -> None:
        # In the order of polling. Windows has no SIGHUP.
        self._actions = {signal.SIGHUP: sighup} if hasattr(signal, "SIGHUP") else {}
        self._actions[signal.SIGINT] = sigint
        self._pending: set[int] = set()
        self._before: dict[int, Any] = {}

    def _catch(self, number: int, _: FrameType | None) -> None:
        self._pending.add(number)

    def poll(self) -> Action:
        """Return and forget the most urgent request."""
        if not self._pending:
            return Action.NONE
        for number, action in self._actions.items():
            if number in self._pending:
                self._pending.discard(number)
                return action
        return Action.NONE

    def __enter__(self) -> SignalActions:
        self._before = {number: signal.signal(number, self._catch) for number in self._actions}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
