"""Step: tests under compute-sanitizer: bad accesses (memcheck), races in shared memory (racecheck).

``python -m benchmarks.gpu_check.sanitizer memcheck|racecheck [arguments of pytest]``
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from .figures import Figures, cannot_run
from .suite import pytest_command

_FOUND = 99  # exit status for errors


def main() -> None:
    """Run; fails if the tool finds anything or the tests fail."""
    tool, *arguments = sys.argv[1:]
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer"
    )
    if not program:
        cannot_run("compute-sanitizer is not installed")
    figures = Figures()
    command = [program, "--tool", tool, "--error-exitcode", str(_FOUND), "--print-limit", "10"]
    command += ["--target-processes", "application-only", *pytest_command(parallel=False), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    found = 0
    for line in process.stdout:
        print(line, end="", flush=True)
        found = max(found, errors_in(line))
        if " passed" in line or " failed" in line:
            figures.note(tests=line.strip())
    figures.note(errors=found)
    sys.exit(process.wait() or (1 if found else 0))


def errors_in(line: str) -> int:
    """Number in a line of a summary, such as "========= ERROR SUMMARY: 2 errors"; 0 in all others."""
    match = re.search(r"ERROR SUMMARY: (\d+) error|SUMMARY: (\d+) hazard", line)
    return int(match[1] or match[2]) if match else 0


if __name__ == "__main__":
    main()
