"""The result of a check: one JSON file and one page, written anew after each step."""

from __future__ import annotations

import datetime
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from .step import Outcome
from .summary import page

STEM = "gpu-check"
_LOG_BYTES = 200_000  # of each step


class Report:
    """What is known so far.

    Parameters
    ----------
    output : Path
        Folder of the files.
    logs : Path
        Folder of the outputs of the steps.
    commit : str
        What is measured; asked of git when not given.
    """

    def __init__(self, output: Path, logs: Path, commit: str = "") -> None:
        self.output, self.logs = output, logs
        self.start = time.monotonic()
        self.content: dict[str, Any] = {
            "date": datetime.date.today().isoformat(),
            "commit": commit or _commit(),
            "seconds": 0,
            "steps": {},
        }
        output.mkdir(parents=True, exist_ok=True)
        (output / f"{STEM}.log").write_bytes(b"")
        self._write()

    def add(self, name: str, outcome: Outcome) -> None:
        """Take in what became of a step."""
        self.content["steps"][name] = outcome.as_dict()
        self.content["seconds"] = round(time.monotonic() - self.start, 1)
        print(f"{name}: {outcome.status} after {outcome.seconds:.1f} s", flush=True)
        if outcome.status != "passed":
            print(_indented(outcome.tail), flush=True)
        self._append_log(name)
        self._write()

    @property
    def page(self) -> str:
        """As Markdown."""
        return page(self.content)

    def _write(self) -> None:
        _replace(self.output / f"{STEM}.json", json.dumps(self.content, indent=1) + "\n")
        _replace(self.output / f"{STEM}.md", self.page)

    def _append_log(self, name: str) -> None:
        path = self.logs / f"{name}.log"
        content = path.read_bytes()[-_LOG_BYTES:] if path.exists() else b""
        with (self.output / f"{STEM}.log").open("ab") as log:
            log.write(f"=== {name}\n".encode() + content + b"\n")


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(f"{path.suffix}.partial")
    partial.write_text(text)
    partial.replace(path)


def _indented(text: str, lines: int = 25) -> str:
    return "\n".join(f"  | {line[:300]}" for line in text.splitlines()[-lines:])


def _commit() -> str:
    """Short name of what is checked out, with a + if files have changed; empty outside a repository."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        try:
            command = ["git", "-C", str(root), *arguments]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        except OSError:
            return ""

    return git("rev-parse", "--short", "HEAD") + ("+" if git("diff", "HEAD", "--name-only") else "")
