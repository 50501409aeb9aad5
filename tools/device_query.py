"""`caffe device_query`: shows what nets can run on."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path

from .. import _core as core
from ..errors import DeviceError
from .common import GPU
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Show the devices that nets can run on."
ARGUMENTS = "device_query [flags]"
FLAGS = {**GPU, "help": Flag(False, "show this text")}


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    log.info("Querying GPUs %s", flags["gpu"])
    if flags["gpu"]:
        raise DeviceError(f"-gpu {flags['gpu']}: this build of pycaffe-like runs on the CPU only")
    log.info("This build runs on the CPU only.")
    for label, value in _cpu():
        log.info("%-31s%s", label, value)
    return 0


def _cpu() -> list[tuple[str, object]]:
    return [
        ("Name:", _model_name()),
        ("Number of processors:", os.cpu_count()),
        ("Threads in use:", core.thread_count()),
        ("Instruction set:", core.__name__.rpartition("_core_")[2]),
    ]


def _model_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
