"""What several subcommands share: their common flags, devices and stages."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import ConfigError, DeviceError
from .flags import Flag

log = logging.getLogger("caffe")

GPU = {"gpu": Flag("", "ids of GPUs, separated by commas, or 'all'; this build has none")}
STATE = {
    "level": Flag(0, "level of the net's state, for include and exclude rules"),
    "stage": Flag("", "stages of the net's state, separated by commas"),
}
PRECISION = {"precision": Flag("float32", "type of activations: float32 or bfloat16")}


def use_device(gpu: str) -> None:
    """Choose where to run: on the CPU, which is all that this build can do."""
    if gpu:
        raise DeviceError(
            f"-gpu {gpu}: this build of pycaffe-like runs on the CPU only",
            hint="leave -gpu out to run on the CPU",
        )
    log.info("Use CPU.")


def stages(text: str) -> list[str]:
    """Split the value of `-stage`."""
    return [stage for stage in text.split(",") if stage]


def check_precision(text: str) -> str:
    """Check the value of `-precision`."""
    if text not in ("float32", "bfloat16"):
        raise ConfigError(f"-precision must be float32 or bfloat16, got '{text}'")
    return text


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
