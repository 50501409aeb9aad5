"""What several subcommands share: their common flags, devices and stages."""

from __future__ import annotations

import logging
import re
from typing import Any

from .. import _core as core
from ..device import set_device, set_mode_gpu
from ..errors import ConfigError, DeviceError
from ..plan.chain import check_passes, optional_passes
from ..user_layers import user_code
from .flags import Flag

log = logging.getLogger("caffe")

GPU = {"gpu": Flag("", "number of the GPU to run on, counted from 0; on the CPU when not given")}
STATE = {
    "level": Flag(0, "level of the net's state, for include and exclude rules"),
    "stage": Flag("", "stages of the net's state, separated by commas"),
}
CODE = {user_code.FLAG: Flag(False, "run the Python code that the net names, in layers of type Python")}
PLAN = {
    "precision": Flag(
        "float32", "type of activations: float32, bfloat16, or on a GPU tf32: float32 with rounded factors"
    ),
    "skip_pass": Flag("", f"passes of the planner to leave out, by commas: {', '.join(optional_passes())}"),
}
MEMORY = {
    "max_memory": Flag(
        "", "bytes that training may need, as 1500M or 2G; backward computes more where it must"
    )
}


def use_device(gpu: str) -> None:
    """Choose where to run, from the value of `-gpu`."""
    if not gpu:
        log.info("Use CPU.")
        return
    try:
        number = _only_gpu() if gpu == "all" else gpu_number(gpu)
        set_device(number)
        set_mode_gpu()
    except DeviceError as error:
        raise DeviceError(
            f"-gpu {gpu}: {error.problem}",
            hint="'caffe doctor' says what is missing; without -gpu the CPU is used",
        ) from None
    log.info("Use GPU with device ID %d", number)


def _only_gpu() -> int:
    """Read `-gpu all`, which Caffe's users write: right where there is one."""
    devices = core.accelerator_report()["devices"]
    if devices > 1:
        raise ConfigError(f"-gpu all: there are {devices} GPUs, and a net uses one", hint="choose it: -gpu 0")
    return 0


def gpu_number(text: str) -> int:
    """Check one number of the value of `-gpu`."""
    if not text.isdecimal():
        raise ConfigError(f"-gpu must be the number of one GPU, got '{text}'", hint="a net uses one GPU")
    return int(text)


def allow_code(flags: dict[str, Any]) -> None:
    """Read the flag of `CODE`."""
    if flags[user_code.FLAG]:
        user_code.allow()


def stages(text: str) -> list[str]:
    """Split the value of `-stage`."""
    return [stage for stage in text.split(",") if stage]


def check_precision(text: str) -> str:
    """Check the value of `-precision`."""
    if text not in ("float32", "tf32", "bfloat16"):
        raise ConfigError(f"-precision must be float32, tf32 or bfloat16, got '{text}'")
    return text


def plan_options(flags: dict[str, Any]) -> dict[str, Any]:
    """Read the flags of `PLAN` into fields of `NetOptions`."""
    skipped = tuple(name for name in flags["skip_pass"].split(",") if name)
    check_passes(skipped)
    return {"precision": check_precision(flags["precision"]), "skip_passes": skipped}


def max_memory(flags: dict[str, Any]) -> int | None:
    """Read the value of `-max_memory` into bytes."""
    text = flags["max_memory"]
    if not text:
        return None
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not match:
        raise ConfigError(f"-max_memory must be a number of bytes, or one with K, M or G, got '{text}'")
    return int(match[1]) * int(1024 ** " KMG".index(match[2] or " "))


def required(flags: dict[str, Any], *names: str) -> None:
    """Refuse a command line that lacks one of these flags."""
    for name in names:
        if not flags[name]:
            raise ConfigError(f"flag -{name} is missing", hint=f"add -{name} FILE")


def positive_iterations(flags: dict[str, Any]) -> int:
    """Check the value of `-iterations`."""
    if flags["iterations"] < 1:
        raise ConfigError(f"-iterations must be >= 1, got {flags['iterations']}")
    return int(flags["iterations"])


def parse_phase(text: str, default: int) -> int:
    """Read the value of `-phase`: TRAIN is 0, TEST is 1."""
    phases = {"": default, "TRAIN": 0, "TEST": 1}
    if text not in phases:
        raise ConfigError(f"-phase must be TRAIN or TEST, got '{text}'")
    return phases[text]
