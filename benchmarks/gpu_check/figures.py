"""What a step finds, kept in a file that is whole at any moment: a step that is stopped loses nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from .step import CANNOT_RUN, FIGURES


class Figures:
    """Figures by name; also printed, for whoever runs a step alone."""

    def __init__(self) -> None:
        path = os.environ.get(FIGURES)
        self.path = Path(path) if path else None
        self.values: dict[str, Any] = {}

    def note(self, **values: Any) -> None:
        """Add figures, or replace them."""
        self.values.update(values)
        for name, value in values.items():
            if not isinstance(value, dict):  # a table; whoever makes it prints its lines
                print(f"{name}: {value}", flush=True)
        if self.path:
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps(self.values))
            partial.replace(self.path)


def figures_of(step: str) -> dict[str, Any]:
    """What another step of this run has found so far; empty if nothing."""
    own = os.environ.get(FIGURES)
    path = Path(own).with_name(f"{step}.json") if own else None
    return dict(json.loads(path.read_text())) if path and path.exists() else {}


def cannot_run(reason: str) -> NoReturn:
    """End a step that has nothing to run on."""
    print(reason, flush=True)
    sys.exit(CANNOT_RUN)
