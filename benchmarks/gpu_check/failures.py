"""Plugin of pytest: tells each failure when it happens, and leaves a process whose GPU is spoilt.

pytest tells failures at its end, which a step that is stopped does not live to see. And a kernel that reads
or writes where it must not spoils all that its process does on the GPU afterwards, so that every later test
of that process would fail for nothing; xdist goes on with a new one.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

SPOILT = 70
"""Exit status of a process that cannot use its GPU any more."""

_LINES = 12  # of a failure


class Failures:
    """Hooks of one process: the one that the user sees, or one that runs tests for it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.runs_tests = self.is_worker or not config.getoption("numprocesses", None)
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the end of a failure."""
        if not report.failed:
            return
        self.failed = True
        terminal: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal and not self.is_worker:
            lines = str(report.longrepr).splitlines()[-_LINES:]
            terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})")
            terminal.write_line("\n".join(f"  | {line[:200]}" for line in lines))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """After a failure, look whether the GPU still works."""
        failed, self.failed = self.failed, False
        if failed and self.runs_tests and (error := gpu_error()):
            if self.is_worker:
                os._exit(SPOILT)
            pytest.exit(f"after {nodeid} this process cannot use its GPU any more: {error}", SPOILT)


def gpu_error() -> str:
    """What a wait for the GPU says; empty if that is nothing, or if there is none in use."""
    from pycaffe_like import _core as core

    try:
        core.synchronize()
    except RuntimeError as error:
        return str(error)
    return ""


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    config.pluginmanager.register(Failures(config))
