"""One measured row, and the file that keeps them: a run that is interrupted goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

Pair = tuple[float, float]  # ours, the peer's


@dataclasses.dataclass(frozen=True)
class Result:
    """A net in one setting beside one peer.

    Attributes
    ----------
    code : str
        The commit that was measured.
    problem : str
        Why there is no result; what follows is then empty.
    ratio : tuple of float
        Speed relative to the peer's: 25 %, 50 % and 75 % point.
    ms, share, mib : pair of float
        Milliseconds a step, share of the peak, largest resident size; ours and the peer's.
    kept, discarded : int
        Pairs of blocks.
    agreement : str
        How far the results of both are apart.
    """

    net: str
    mode: str
    batch: int
    precision: str
    threads: int
    peer: str
    code: str
    date: str
    problem: str = ""
    ratio: tuple[float, ...] = ()
    ms: Pair = (0, 0)
    share: Pair = (0, 0)
    mib: Pair = (0, 0)
    kept: int = 0
    discarded: int = 0
    agreement: str = ""

    @property
    def key(self) -> str:
        """What tells this row from the others, whenever it was measured."""
        setting = f"{self.net}/{self.mode}/b{self.batch}/{self.precision}/t{self.threads}"
        return f"{setting}/{self.peer}"

    def regressed_from(self, before: Result) -> bool:
        """Whether all of the new spread lies below all of the old one, or there is no result any more."""
        if before.problem:
            return False
        return bool(self.problem) or self.ratio[2] < before.ratio[0]


class Store:
    """A JSON file of results and of the machine they come from; written after each row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.machine: dict[str, Any] = content.get("machine", {})
        self.rows = {key: _read(row) for key, row in content.get("rows", {}).items()}

    def add(self, result: Result) -> None:
        """Keep a result in place of an older one."""
        self.rows[result.key] = result
        self.save()

    def save(self) -> None:
        """Write the file anew; a kill leaves the old one or the new one."""
        rows = {key: dataclasses.asdict(self.rows[key]) for key in sorted(self.rows)}
        text = json.dumps({"machine": self.machine, "rows": rows}, indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(text + "\n")
        partial.replace(self.path)


def _read(row: dict[str, Any]) -> Result:
    return Result(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


def regressions(now: Store, baseline: Store) -> list[tuple[Result, Result]]:
    """Rows that were better in the baseline by more than both spreads: (now, then)."""
    both = now.rows.keys() & baseline.rows.keys()
    pairs = [(now.rows[key], baseline.rows[key]) for key in sorted(both)]
    return [(new, old) for new, old in pairs if new.regressed_from(old)]
