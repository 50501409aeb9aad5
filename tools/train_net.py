"""`caffe train`: trains a net as a solver file says, from the beginning, from weights or from a snapshot."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .. import _core as core
from ..errors import ConfigError
from ..prototxt.text import Document
from ..prototxt.upgrade import read_solver
from ..solver.checks import check_max_iter
from ..solver.run_lock import RunLock, require_no_snapshots
from ..solver.signals import SignalActions, parse_action
from ..solver.snapshot import probe
from ..solver.types import solver_class
from .common import (
    CODE,
    GPU,
    MEMORY,
    PLAN,
    STATE,
    allow_code,
    max_memory,
    plan_options,
    required,
    stages,
    use_device,
)
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Train or fine-tune a net."
ARGUMENTS = "train -solver FILE [flags]"
FLAGS = {
    "solver": Flag("", "solver prototxt"),
    "snapshot": Flag("", "solver state to resume from"),
    "weights": Flag("", "trained weights to start from, separated by commas"),
    "allow_unused_weights": Flag(False, "go on with weights of which no layer fits the net"),
    "overwrite": Flag(False, "replace snapshots that another run has written under snapshot_prefix"),
    "sigint_effect": Flag("stop", "what Ctrl-C does: stop, snapshot or none"),
    "sighup_effect": Flag("snapshot", "what a hangup does: stop, snapshot or none"),
    **STATE,
    **PLAN,
    **CODE,
    **MEMORY,
    **GPU,
    "help": Flag(False, "show this text"),
}


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    required(flags, "solver")
    if flags["snapshot"] and flags["weights"]:
        raise ConfigError(
            "-snapshot and -weights exclude each other", hint="a snapshot has weights of its own"
        )
    sigint = parse_action(flags["sigint_effect"], "sigint_effect")
    sighup = parse_action(flags["sighup_effect"], "sighup_effect")
    with SignalActions(sigint, sighup) as actions:
        _train(flags, actions)
    log.info("Optimization Done.")
    return 0


def _train(flags: dict[str, Any], actions: SignalActions) -> None:
    allow_code(flags)
    document = _read_solver(flags)
    check_max_iter(document)
    use_device(flags["gpu"] or _gpu_of(document))
    with _own_snapshots(flags, document.message):
        _solve(flags, actions, document)


def _own_snapshots(flags: dict[str, Any], param: Any) -> AbstractContextManager[object]:
    """Keep other runs from the snapshots of this one, and this one from theirs."""
    prefix, state = param.snapshot_prefix, flags["snapshot"]
    if not prefix or not (param.snapshot or param.snapshot_after_train):
        return nullcontext()
    probe(prefix)
    if not flags["overwrite"] and not os.path.basename(state).startswith(f"{os.path.basename(prefix)}_iter_"):
        require_no_snapshots(prefix, param.max_iter)
    return RunLock(prefix)


def _solve(flags: dict[str, Any], actions: SignalActions, document: Document) -> None:
    snapshot = flags["snapshot"]
    solver = solver_class(document)(
        document, allow_unused_weights=flags["allow_unused_weights"], **plan_options(flags), keep_data=False,
        keep_diffs=False, max_memory=max_memory(flags),
    )  # fmt: skip
    solver.poll_action = actions.poll
    try:
        if snapshot:
            log.info("Resuming from %s", snapshot)
            solver.restore(snapshot)
        log.info("Starting Optimization")
        solver.solve()
    finally:
        solver.close()


def _read_solver(flags: dict[str, Any]) -> Document:
    """Read the solver file and let the flags override it."""
    document = read_solver(flags["solver"])
    param = document.message
    param.train_state.level = flags["level"]
    param.train_state.stage.extend(stages(flags["stage"]))
    if flags["snapshot"]:
        param.ClearField("weights")
    if flags["weights"]:
        param.weights[:] = [flags["weights"]]
    return document


def _gpu_of(document: Document) -> str:
    """What the solver file asks for, as a value of `-gpu`; only a solver_mode that is written counts."""
    param = document.message
    if not param.HasField("solver_mode") or param.solver_mode != type(param).GPU:
        return ""
    if core.accelerator_built():
        return str(param.device_id)
    log.warning("the solver file sets solver_mode: GPU; this build trains on the CPU")
    return ""
