"""`caffe device_query`: shows what nets can run on."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import _core as core
from ..cuda_libraries import cuda_version
from ..errors import DeviceError
from .common import gpu_number
from .flags import Flag, format_usage, parse_flags

log = logging.getLogger("caffe")

SUMMARY = "Show the devices that nets can run on."
ARGUMENTS = "device_query [flags]"
FLAGS = {
    "gpu": Flag("", "numbers of GPUs, separated by commas, or all; the CPU when not given"),
    "help": Flag(False, "show this text"),
}


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    log.info("Querying GPUs %s", flags["gpu"])
    if flags["gpu"]:
        _show_gpus(flags["gpu"])
    else:
        log.info("%s", _gpus_in_short())
        _show(cpu_properties())
    return 0


def _show_gpus(text: str) -> None:
    try:
        report = core.accelerator_report()
        if report["problem"]:
            raise DeviceError(f"no GPU can be used: {report['problem']}")
        numbers = range(report["devices"]) if text == "all" else map(gpu_number, text.split(","))
        for number in numbers:
            _show(_gpu_properties(number, report))
    except DeviceError as error:
        raise DeviceError(
            f"-gpu {text}: {error.problem}", hint="'caffe doctor' says what is missing"
        ) from None


def _gpus_in_short() -> str:
    if not core.accelerator_built():
        return "This build runs on the CPU only."
    return f"GPUs that can be used: {core.accelerator_report()['devices']}; -gpu all shows them."


def _show(rows: Iterable[tuple[str, object]]) -> None:
    for label, value in rows:
        log.info("%-31s%s", label, value)


def _gpu_properties(number: int, report: dict[str, Any]) -> list[tuple[str, object]]:
    """Caffe's lines, and four more."""
    found = core.accelerator_properties(number)
    free, total = core.accelerator_memory(number)
    return [
        ("Device id:", number),
        ("Major revision number:", found["compute_capability_major"]),
        ("Minor revision number:", found["compute_capability_minor"]),
        ("Name:", found["name"]),
        ("Total global memory:", total),
        ("Total shared memory per block:", found["shared_memory_per_block_bytes"]),
        ("Total registers per block:", found["registers_per_block"]),
        ("Warp size:", found["warp_size"]),
        ("Maximum memory pitch:", found["memory_pitch_bytes"]),
        ("Maximum threads per block:", found["threads_per_block"]),
        ("Maximum dimension of block:", _triple(found, "block")),
        ("Maximum dimension of grid:", _triple(found, "grid")),
        ("Clock rate:", found["clock_khz"]),
        ("Total constant memory:", found["constant_memory_bytes"]),
        ("Texture alignment:", found["texture_alignment_bytes"]),
        ("Concurrent copy and execution:", _yes_or_no(found["copies_while_computing"])),
        ("Number of multiprocessors:", found["multiprocessors"]),
        ("Kernel execution timeout:", _yes_or_no(found["kernel_timeout"])),
        ("Free global memory:", free),
        ("CUDA driver version:", cuda_version(report["driver_version"])),
        ("CUDA runtime version:", cuda_version(report["runtime_version"])),
    ]


def _triple(found: dict[str, Any], what: str) -> str:
    return ", ".join(str(found[f"{what}_{axis}"]) for axis in "xyz")


def _yes_or_no(value: int) -> str:
    return "Yes" if value else "No"


def cpu_properties() -> list[tuple[str, object]]:
    """Labels and values of the processor, as this process sees it."""
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
