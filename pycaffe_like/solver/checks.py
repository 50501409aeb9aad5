"""What a solver file may say. Everything is checked before a net is built, with the position in the file."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from .. import _core as core
from ..errors import ConfigError, Position, nearest
from ..fields import Fields, refusal
from ..prototxt.text import Document
from ..rules import Rule
from .lr_policy import check_policy

log = logging.getLogger("caffe")

TRAIN_SOURCES = ("net", "net_param", "train_net", "train_net_param")

_NOT_NEGATIVE = Rule(low=0)
_AT_LEAST_ONE = Rule(low=1)
_FRACTION = Rule(low=0, high=1, high_open=True)

_COMMON: Mapping[str, Rule] = {
    "average_loss": _AT_LEAST_ONE,
    "iter_size": _AT_LEAST_ONE,
    "test_iter": _AT_LEAST_ONE,
    "max_iter": _NOT_NEGATIVE,
    "display": _NOT_NEGATIVE,
    "snapshot": _NOT_NEGATIVE,
    "test_interval": _NOT_NEGATIVE,
    "base_lr": _NOT_NEGATIVE,
    "momentum": _FRACTION,
    "weight_decay": _NOT_NEGATIVE,
    "delta": _NOT_NEGATIVE,
}

SOLVER = Fields(
    (
        *TRAIN_SOURCES, "train_state", "test_net", "test_net_param", "test_state", "test_iter",
        "test_interval", "test_initialization", "test_compute_loss", "type", "base_lr", "lr_policy", "gamma",
        "power", "stepsize", "stepvalue", "stageiter", "stagelr", "min_lr", "warmup_iter", "warmup_start_lr",
        "rampup_interval", "rampup_lr", "momentum", "momentum2", "rms_decay", "delta", "weight_decay",
        "regularization_type", "clip_gradients", "iter_size", "average_loss", "max_iter", "display",
        "snapshot", "snapshot_prefix", "snapshot_diff", "snapshot_format", "snapshot_after_train", "weights",
        "solver_mode", "device_id", "random_seed",
    ),
    {
        "debug_info": "prints a line for every blob; a warning says that nothing is printed",
        "layer_wise_reduce": "tunes the speed of several GPUs",
        "engine": "tunes speed only",
        "richness": "tunes speed only: memory for cuDNN",
        "solver_data_type": "history has 32 bits here",
        "store_blobs_in_old_format": "blobs are stored in that format always",
    },
)  # fmt: skip
"""SolverParameter; `upgrade.py` turns `solver_type` into `type`."""


def check_solver(solver: Document, kind: str, rules: Mapping[str, Rule]) -> None:
    """Check a solver of type `kind`.

    Parameters
    ----------
    rules : mapping of str to Rule
        Those of its type, beside those of all.

    Raises
    ------
    ConfigError
        At the field that is wrong.
    """
    check_type(solver, kind)
    _check_finite(solver)
    _check_values(solver, _COMMON)
    _check_values(solver, rules, f" for type '{kind}'")
    _check_supported(solver)
    check_policy(solver)
    _check_nets(solver)
    _check_snapshots(solver)


def check_type(solver: Document, kind: str) -> None:
    """Check that there is a rule for a type."""
    known = core.solver_rules()
    if kind not in known:
        hint = nearest(kind, known) or f"known types: {', '.join(known)}"
        _refuse(solver, f"unknown solver type '{kind}'", "type", hint=hint)
    regularization = solver.message.regularization_type
    if regularization not in ("L1", "L2"):
        problem = f"unknown regularization_type '{regularization}'"
        _refuse(solver, problem, "regularization_type", hint="known types: L1, L2")


def check_max_iter(solver: Document) -> None:
    """Check that training has an end. Only `Solver.solve` needs one; who calls `step` counts alone."""
    if not solver.message.HasField("max_iter"):
        hint = "set max_iter: the number of iterations to train"
        _refuse(solver, "max_iter is not set, so nothing would be trained", "max_iter", hint=hint)


def _check_finite(solver: Document) -> None:
    """Refuse NaN and infinity in all fields: weights would be NaN after the first update."""
    for field, value in solver.message.ListFields():
        if field.cpp_type not in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            continue
        for index, item in enumerate([value] if isinstance(value, float) else value):
            if not math.isfinite(item):
                _refuse(solver, f"{field.name} must be a finite number, got {item:g}", field.name, index)


def _check_values(solver: Document, rules: Mapping[str, Rule], whom: str = "") -> None:
    for field, rule in rules.items():
        value = getattr(solver.message, field)
        values = [value] if isinstance(value, (int, float)) else list(value)
        for index, item in enumerate(values):
            if not rule.accepts(item):
                only_zero = rule.low == rule.high == 0
                wanted = "0" if only_zero else str(rule)
                path = (field,) if values == [value] else (field, index)
                _refuse(solver, f"{field} must be {wanted}{whom}, got {item:g}", *path)


def _check_supported(solver: Document) -> None:
    for path, descriptor in SOLVER.unsupported(solver.message):
        problem, hint = refusal(descriptor)
        _refuse(solver, problem, *path, hint=hint)
    if solver.message.debug_info:
        log.warning("%s: debug_info is ignored", position_of(solver, "debug_info"))


def _check_nets(solver: Document) -> None:
    param = solver.message
    given = [field for field in TRAIN_SOURCES if param.HasField(field)]
    if len(given) != 1:
        found = f"both {' and '.join(given)} are given" if given else "none is given"
        problem = f"the train net needs exactly one of {', '.join(TRAIN_SOURCES)}; {found}"
        _refuse(solver, problem, *given[1:2])
    tests, specific = len(param.test_iter), len(param.test_net) + len(param.test_net_param)
    generic = param.HasField("net") or param.HasField("net_param")
    if tests < specific or (not generic and tests != specific):
        wanted = f"{'at least ' if generic else ''}{specific}"
        problem = f"test_iter needs {wanted} value(s), one for each test net, got {tests}"
        _refuse(solver, problem, "test_iter" if tests else "test_net")
    if len(param.test_state) not in (0, tests):
        problem = f"test_state needs one entry for each of {tests} test net(s), got {len(param.test_state)}"
        _refuse(solver, problem, "test_state")
    if param.test_interval and not tests:
        hint = "set test_iter: the number of batches of a test; or leave test_interval out"
        _refuse(solver, "test_interval is set, but test_iter is not", "test_interval", hint=hint)
    if tests and param.test_interval < 1:
        hint = "set test_interval: the number of iterations between tests"
        _refuse(
            solver,
            f"test_interval must be >= 1 with test nets, got {param.test_interval}",
            "test_interval",
            hint=hint,
        )


def _check_snapshots(solver: Document) -> None:
    param = solver.message
    if param.snapshot and not param.HasField("snapshot_prefix"):
        _refuse(solver, "snapshot is set, but snapshot_prefix is not", "snapshot", hint="set snapshot_prefix")
    if param.snapshot_format == type(param).HDF5:
        hint = "use snapshot_format: BINARYPROTO"
        _refuse(solver, "snapshots in HDF5 are not supported", "snapshot_format", hint=hint)


def position_of(solver: Document, *path: str | int) -> Position | None:
    """Place of a field in the solver file, or of its beginning."""
    return solver.position(path) or solver.position(path[:1]) or solver.position(())


def _refuse(solver: Document, problem: str, *path: Any, hint: str | None = None) -> NoReturn:
    raise ConfigError(problem, where=position_of(solver, *path), hint=hint)
