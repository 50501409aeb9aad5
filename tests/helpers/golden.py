"""Reads what BVLC Caffe 1.0 computed (tests/golden), and says how close a result must come to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from helpers.layer_facts import told

Array = npt.NDArray[Any]

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Pass:
    """One forward and perhaps backward call: recorded arrays by name ("bottom0", "top0", "paramdiff1")."""

    arrays: Mapping[str, Array]

    def numbered(self, stem: str) -> dict[int, Array]:
        """Arrays called `stem` and a number, by that number."""
        found = {name: re.fullmatch(rf"{stem}(\d+)", name) for name in self.arrays}
        return {int(match[1]): self.arrays[name] for name, match in found.items() if match}


@dataclass(frozen=True)
class Case:
    """One recorded net: Input layers and the layer "L" under test; `name` is that of its file."""

    name: str
    type: str
    index: int
    prototxt: str
    phase: str
    meta: Mapping[str, Any]
    passes: list[Pass]

    def __str__(self) -> str:
        return f"{self.name}-{self.index}"


def layer_cases() -> Iterator[Case]:
    """All recorded layer cases: Caffe's sorted by type, then those of its forks.

    Where forks gave one name to different types, their files are called <type>_<form>.
    """
    for path in (*sorted((GOLDEN / "layers").glob("*.npz")), *sorted((GOLDEN / "forks").glob("*.npz"))):
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for index in range(int(arrays["count"])):
            yield _case(path.stem, index, _below(arrays, f"{index}/"))


def _below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _case(name: str, index: int, arrays: dict[str, Array]) -> Case:
    meta = json.loads(str(arrays.pop("meta")))
    prototxt, phase = str(arrays.pop("prototxt")), str(arrays.pop("phase"))
    later = [Pass(_below(arrays, f"pass{number}/")) for number in range(1, meta["passes"])]
    first = Pass({name: array for name, array in arrays.items() if "/" not in name})
    return Case(name, name.partition("_")[0], index, prototxt, phase, meta, [first, *later])


@dataclass(frozen=True)
class NetState:
    """What Caffe built from one net for one phase, level and list of stages."""

    name: str
    facts: Mapping[str, Any]
    numbers: Mapping[str, Array] | None

    @property
    def path(self) -> Path:
        """The net's prototxt."""
        return GOLDEN / "nets" / f"{self.name}.prototxt"

    @property
    def forced(self) -> bool:
        """Whether the net asks for all gradients."""
        return "force_backward: true" in self.path.read_text()

    def group(self, prefix: str) -> dict[str, Array]:
        """Recorded numbers whose name starts with `prefix` and a slash."""
        return _below(self.numbers or {}, f"{prefix}/")

    def __str__(self) -> str:
        state = self.facts["state"]
        return "-".join([self.name, state["phase"], str(state["level"]), *state["stages"]])


def net_states() -> Iterator[NetState]:
    """All recorded nets, each in all its states."""
    for path in sorted((GOLDEN / "nets").glob("*.json")):
        for facts in json.loads(path.read_text())["states"]:
            numbers = path.with_name(f"{path.stem}.{facts['state']['phase']}.npz")
            yield NetState(path.stem, facts, dict(np.load(numbers)) if numbers.exists() else None)


def assert_close(got: Array, wanted: Array, kind: str, what: str) -> None:
    """Check shape and every value; a NaN is right only where Caffe has one too."""
    assert_within(got, wanted, *told(kind, "TOLERANCE"), what)


def assert_within(got: Array, wanted: Array, relative: float, absolute: float, what: str) -> None:
    """Check that ``|got - wanted| <= absolute * max(1, largest wanted) + relative * |wanted|`` everywhere."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, Caffe has {wanted.shape}"
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    largest = max(1.0, np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
    with np.errstate(invalid="ignore"):
        difference = np.abs(got - wanted)
        near = difference <= absolute * largest + relative * np.abs(wanted)
    wrong = ~(same | near)
    assert not wrong.any(), (
        f"{what}: {int(wrong.sum())} of {wrong.size} values differ, first at {tuple(np.argwhere(wrong)[0])}: "
        f"{got[wrong][0]!r}, Caffe has {wanted[wrong][0]!r}"
    )
