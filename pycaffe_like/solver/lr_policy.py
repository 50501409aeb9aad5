"""Learning-rate policies: the rate of an iteration as a function of the solver's parameters.

A policy is one function under `@policy`; its name is what `lr_policy` says, and the decorator states which
fields it needs. To add one, write one function.

The iteration t counts the updates done before, so the first rate is that of t = 0.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..errors import ConfigError, nearest
from ..prototxt.text import Document
from ..rules import Rule

log = logging.getLogger("caffe")


@dataclass
class Progress:
    """Where training stands; both numbers are saved in a solver state.

    Attributes
    ----------
    iteration : int
        Updates done.
    current_step : int
        How often the rate has been stepped down ("step" and "multistep").
    """

    iteration: int = 0
    current_step: int = 0


Policy = Callable[[Any, Progress], float]


@dataclass(frozen=True)
class _Registered:
    rate: Policy
    rules: Mapping[str, Rule]


_policies: dict[str, _Registered] = {}


def policy(**rules: Rule) -> Callable[[Policy], Policy]:
    """Register a function as the policy of its name; `rules` hold for fields of SolverParameter."""

    def register(function: Policy) -> Policy:
        _policies[function.__name__] = _Registered(function, rules)
        return function

    return register


@policy()
def fixed(param: Any, progress: Progress) -> float:
    """base_lr."""
    return float(param.base_lr)


@policy(gamma=Rule(low=0), stepsize=Rule(low=1))
def step(param: Any, progress: Progress) -> float:
    """base_lr * gamma^floor(t / stepsize)."""
    progress.current_step = progress.iteration // param.stepsize
    return _times_power(param.base_lr, param.gamma, progress.current_step)


@policy(gamma=Rule(low=0))
def exp(param: Any, progress: Progress) -> float:
    """base_lr * gamma^t."""
    return _times_power(param.base_lr, param.gamma, progress.iteration)


@policy(gamma=Rule(low=0))
def inv(param: Any, progress: Progress) -> float:
    """base_lr * (1 + gamma * t)^(-power)."""
    return _times_power(param.base_lr, 1 + param.gamma * progress.iteration, -param.power)


@policy()
def multistep(param: Any, progress: Progress) -> float:
    """base_lr * gamma^current_step; each evaluation passes at most one stepvalue, as in Caffe."""
    reached = progress.current_step
    if reached < len(param.stepvalue) and progress.iteration >= param.stepvalue[reached]:
        progress.current_step += 1
        log.info("MultiStep Status: Iteration %d, step = %d", progress.iteration, progress.current_step)
    return _times_power(param.base_lr, param.gamma, progress.current_step)


@policy(max_iter=Rule(low=1))
def poly(param: Any, progress: Progress) -> float:
    """(base_lr - min_lr) * (1 - t / max_iter)^power + min_lr; exactly min_lr, by default 0, at max_iter."""
    remaining = 1 - progress.iteration / param.max_iter
    return _times_power(param.base_lr - param.min_lr, remaining, param.power) + float(param.min_lr)


@policy(gamma=Rule(low=0), stepsize=Rule(low=1))
def sigmoid(param: Any, progress: Progress) -> float:
    """base_lr / (1 + exp(-gamma * (t - stepsize))), which rises."""
    exponent = -param.gamma * (progress.iteration - param.stepsize)
    return float(param.base_lr / (1 + math.exp(min(exponent, 700))))  # e^700 is near the largest float


@policy(max_iter=Rule(low=1))
def cosine(param: Any, progress: Progress) -> float:
    """min_lr + (base_lr - min_lr) / 2 * (1 + cos(pi * t / max_iter)). Not in Caffe."""
    done = progress.iteration / param.max_iter
    return float(param.min_lr + (param.base_lr - param.min_lr) / 2 * (1 + math.cos(math.pi * done)))


@policy()
def multifixed(param: Any, progress: Progress) -> float:
    """Stagelr of the first stage whose stageiter is not yet passed, else the last one. From Intel's Caffe."""
    stage = bisect_left(param.stageiter, progress.iteration)
    return float(param.stagelr[min(stage, len(param.stagelr) - 1)])


def _times_power(factor: float, base: float, exponent: float) -> float:
    """Factor * base^exponent as C's pow has it: inf where it overflows, NaN where it is not real."""
    try:
        return factor * math.pow(base, exponent)
    except OverflowError:
        return factor * math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan


def learning_rate(param: Any, progress: Progress) -> float:
    """Rate of the next update: warm-up first, then the policy, never below min_lr.

    Parameters
    ----------
    param : SolverParameter
        Accepted by `check_policy` before.
    progress : Progress
        Where training stands; "step" and "multistep" advance `current_step`.
    """
    t = progress.iteration
    if t < param.warmup_iter:
        share = t / param.warmup_iter
        return float(share * param.base_lr + (1 - share) * param.warmup_start_lr)
    if t < param.rampup_interval:
        share = t / param.rampup_interval
        return float(param.rampup_lr + (param.base_lr - param.rampup_lr) * share * share)
    rate = _policies[param.lr_policy].rate(param, progress)
    return max(rate, param.min_lr) if param.min_lr else rate


def check_policy(solver: Document) -> None:
    """Check that the policy exists and has what it needs.

    Raises
    ------
    ConfigError
        With the position in the solver file.
    """
    param = solver.message
    found = _policies.get(param.lr_policy)
    if found is None:
        known = f"known policies: {', '.join(sorted(_policies))}"
        problem = f"unknown lr_policy '{param.lr_policy}'" if param.lr_policy else "lr_policy is not set"
        hint = nearest(param.lr_policy, _policies) or known
        raise ConfigError(problem, where=_where(solver, "lr_policy"), hint=hint)
    for field, rule in found.rules.items():
        value = getattr(param, field)
        if not rule.accepts(value):
            problem = f"lr_policy '{param.lr_policy}' needs {field} {rule}, got {value:g}"
            raise ConfigError(problem, where=_where(solver, field, "lr_policy"))
    if param.lr_policy != "multifixed":
        _check_base_rate(solver)
    if param.lr_policy == "multistep":
        _check_steps(solver)
    if param.lr_policy == "multifixed" and not 0 < len(param.stagelr) == len(param.stageiter):
        problem = f"needs one stagelr for each stageiter, got {len(param.stagelr)} and {len(param.stageiter)}"
        raise ConfigError(f"lr_policy 'multifixed' {problem}", where=_where(solver, "stagelr", "lr_policy"))


def _check_base_rate(solver: Document) -> None:
    param = solver.message
    if not param.HasField("base_lr"):
        hint = "set base_lr: the learning rate, 0.01 is a common start"
        raise ConfigError("base_lr is not set", where=_where(solver, "lr_policy"), hint=hint)
    if param.base_lr == 0:
        log.warning("%s: base_lr is 0: weights do not change", _where(solver, "base_lr"))


def _check_steps(solver: Document) -> None:
    """The rate waits for one step after the other: a smaller one behind a larger one would come too late."""
    steps = list(solver.message.stepvalue)
    if not steps:
        hint = "give one stepvalue for each iteration at which the rate changes"
        problem = "lr_policy 'multistep' needs at least one stepvalue, got none"
        raise ConfigError(problem, where=_where(solver, "lr_policy"), hint=hint)
    for index, (before, after) in enumerate(pairwise(steps), start=1):
        if after < before:
            problem = f"stepvalue must not fall, got {after} behind {before}"
            raise ConfigError(problem, where=solver.position(("stepvalue", index)), hint="sort the values")


def _where(solver: Document, *fields: str) -> Any:
    """Position of the first of these fields that the file sets, else of its first field."""
    for field in fields:
        if position := solver.position((field,)):
            return position
    return solver.position(())
