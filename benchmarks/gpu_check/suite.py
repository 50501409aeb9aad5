"""Step: tests, run by pytest; counts, failures, and what tests have recorded about themselves.

``python -m benchmarks.gpu_check.suite [arguments of pytest]``
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .figures import Figures, cannot_run
from .step import FIGURES

ROOT = Path(__file__).parents[2]
MOST_PROCESSES = 8
_NO_TESTS = 5  # exit status of pytest
_SHOWN = 20


def main() -> None:
    """Run pytest in this step's folder; its exit status is the step's."""
    figures = Figures()
    junit = Path(os.environ.get(FIGURES, "suite.json")).with_suffix(".xml").resolve()
    command = [*pytest_command(parallel=True), f"--junitxml={junit}", *sys.argv[1:]]
    status = subprocess.run(command, check=False).returncode
    if status == _NO_TESTS:
        cannot_run("no test is marked so")
    if junit.exists():
        figures.note(**read_junit(junit))
    sys.exit(status)


def pytest_command(*, parallel: bool) -> list[str]:
    """Call of pytest on this repository from anywhere, with one process for some cores if asked."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    command += ["-c", str(ROOT / "pyproject.toml"), "-p", "benchmarks.gpu_check.failures"]
    processes = min(MOST_PROCESSES, (os.cpu_count() or 1) // 2)
    if parallel and processes > 1 and util.find_spec("xdist"):
        command += ["-n", str(processes)]
    return command


def read_junit(path: Path) -> dict[str, Any]:
    """Numbers of tests, the names of those that failed, and all recorded properties by test."""
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    counts = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "skipped")}
    cases = [case for suite in suites for case in suite.iter("testcase")]
    broken = [_name(case) for case in cases if {"failure", "error"} & {item.tag for item in case}]
    recorded = {_name(case): _properties(case) for case in cases}
    return {
        **counts,
        "failed": len(broken),
        "failures": broken[:_SHOWN],
        "recorded": {name: values for name, values in recorded.items() if values},
    }


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def _properties(case: ElementTree.Element) -> dict[str, str]:
    return {item.get("name", ""): item.get("value", "") for item in case.iter("property")}


if __name__ == "__main__":
    main()
