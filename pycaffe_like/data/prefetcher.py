"""Results made ahead of their use by background threads, handed out in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Prefetcher(Generic[Job, Result]):
    """Runs a pipeline of two steps in threads: `claim` one at a time and in order, `work` side by side.

    Parameters
    ----------
    claim : callable
        Makes the next job; called by one thread at a time.
    work : callable
        Turns a job into a result, in one of the `slots` buffers the caller keeps: `work(job, slot)`.
    slots : int
        Number of buffers; `slots - 1` results are made ahead while one is in use.
    threads : int
        Number of threads.

    Notes
    -----
    Threads that have filled all slots rest until half of them are free, as long as one result is still ready
    then: each waking costs the user's threads time, and of the results made in one go all but the first find
    code and data in the caches.
    An exception in a thread is raised by the `next` that would have returned its result, and from then on.
    Threads, never processes: a process forked after a parallel region hangs.
    """

    def __init__(
        self, claim: Callable[[], Job], work: Callable[[Job, int], Result], slots: int, threads: int
    ) -> None:
        self._claim = claim
        self._work = work
        self._claiming = threading.Lock()
        self._changed = threading.Condition()
        # All below is guarded by _changed.
        self._free = list(range(slots))
        self._resting = False
        self._free_to_wake = max(1, min((slots + 1) // 2, slots - 2))
        self._ready: dict[int, tuple[int, Result | Exception]] = {}
        self._claimed = 0
        self._taken = 0
        self._lent: int | None = None
        self._failed = False  # no more jobs; those begun before are finished and handed out
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"caffe-prefetch-{i}", daemon=True)
            for i in range(threads)
        ]
        self._started = False

    def next(self) -> Result:
        """Wait for the next result. It is valid until the following call, which gives its slot back."""
        self._start()
        with self._changed:
            if self._lent is not None:
                self._free.append(self._lent)
                self._lent = None
                if self._resting and len(self._free) >= self._free_to_wake:
                    self._resting = False
                    self._changed.notify_all()
            while self._taken not in self._ready and not self._closed:
                self._changed.wait()
            if self._closed:
                raise RuntimeError("the prefetcher is closed")
            slot, result = self._ready[self._taken]
            if isinstance(result, Exception):
                raise result
            del self._ready[self._taken]
            self._taken += 1
            self._lent = slot
            return result

    def _start(self) -> None:
        """Start the threads at the first use: a net that is only planned runs none."""
        if not self._started and not self._closed:
            self._started = True
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """Stop and join the threads. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads if self._started else ():
            if thread is not threading.current_thread():  # the garbage collector may run in one of them
                thread.join()

    def _run(self) -> None:
        while True:
            with self._claiming:
                slot = self._wait_for_slot()
                if slot is None:
                    return
                ticket = self._claimed
                self._claimed += 1
                try:
                    job = self._claim()
                except Exception as error:
                    return self._deliver(ticket, slot, error)
            try:
                result: Result | Exception = self._work(job, slot)
            except Exception as error:
                result = error
            del job
            self._deliver(ticket, slot, result)
            if isinstance(result, Exception):
                return None

    def _wait_for_slot(self) -> int | None:
        with self._changed:
            self._resting = not self._free
            while self._resting and not (self._failed or self._closed):
                self._changed.wait()
            return None if self._failed or self._closed else self._free.pop()

    def _deliver(self, ticket: int, slot: int, result: Result | Exception) -> None:
        with self._changed:
            self._ready[ticket] = (slot, result)
            self._failed = self._failed or isinstance(result, Exception)
            self._changed.notify_all()
