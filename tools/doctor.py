"""`caffe doctor`: one page that says what can be used here, why something cannot, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import TEST, Net, __version__
from .. import _core as core
from ..cuda_libraries import DRIVER, LIBRARIES, Library, cuda_version, find_library
from ..device import set_device
from ..errors import DeviceError
from ..testing import net_from_text
from .common import gpu_number
from .device_query import cpu_properties
from .flags import Flag, format_usage, parse_flags

SUMMARY = "Say what is usable here, and what to install."
ARGUMENTS = "doctor [flags]"
FLAGS = {
    "gpu": Flag("", "number of a GPU, counted from 0, to run a small net on; status 1 if that fails"),
    "help": Flag(False, "show this text"),
}
WIDTH = 100  # of the page, in characters


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Attributes
    ----------
    subject, state : str
        What it is about, and what was found.
    good : bool or None
        Whether it can be used; None for what may be missing.
    cure : str
        What to do about it, if anything.
    """

    subject: str
    state: str
    good: bool | None = True
    cure: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "--", None: "  "}[self.good]
        head = f"{mark}  {self.subject:<10}"
        lines = textwrap.wrap(self.state, WIDTH - len(head), break_long_words=False, break_on_hyphens=False)
        rest = [*lines[1:], *([f"-> {self.cure}"] if self.cure else [])]
        return "\n".join([head + lines[0], *(" " * len(head) + line for line in rest)])


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, extra = parse_flags(argv, FLAGS)
    if extra or flags["help"]:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    logging.getLogger("caffe").setLevel(logging.WARNING)
    wanted = gpu_number(flags["gpu"]) if flags["gpu"] else None
    print(f"pycaffe-like {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for finding in findings():
        print(finding)
    if wanted is None:
        return 0
    verdict = try_gpu(wanted)
    print(verdict)
    return 0 if verdict.good else 1


def findings() -> Iterator[Finding]:
    """Look at one part after the other, from the processor to packages that may be missing."""
    yield _cpu()
    if not core.accelerator_built():
        yield Finding(
            "GPU part", "not in this build", False,
            "install with it: CAFFE_CUDA=1 pip install '.[cuda]' in the sources; needs nvcc of CUDA 13",
        )  # fmt: skip
    report = core.accelerator_report() if core.accelerator_built() else None
    if report:
        yield _gpu_part(report)
    yield _driver()
    if report:
        yield from _gpus(report)
    for library in LIBRARIES:
        yield _library(library)
    yield _pycuda()


def _cpu() -> Finding:
    values = dict(cpu_properties())
    return Finding(
        "CPU",
        f"{values['Name:']}, {values['Threads in use:']} of {values['Number of processors:']} processors, "
        f"kernels for {values['Instruction set:']}",
    )


def _gpu_part(report: dict[str, Any]) -> Finding:
    kinds = ", ".join(f"{kind // 10}.{kind % 10}" for kind in report["architectures"])
    made_for = f"compiled for compute capability {kinds}" if kinds else "emulated on the CPU, for tests"
    return Finding("GPU part", f"{made_for}, CUDA runtime {cuda_version(report['runtime_version'])}")


def _driver() -> Finding:
    found = find_library(DRIVER)
    if found.problem:
        return Finding(
            "driver", found.problem, False,
            "install NVIDIA's driver; in a container, start it with access to the GPU",
        )  # fmt: skip
    module = _kernel_module()
    return Finding("driver", f"{f'{module}, ' if module else ''}up to CUDA {found.version}, {found.path}")


def _kernel_module() -> str:
    """Version of the driver itself, such as 580.65.06."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return ""


def _gpus(report: dict[str, Any]) -> Iterator[Finding]:
    if report["problem"] or not report["devices"]:
        yield Finding("GPU", report["problem"] or "there is none", False)
    for number in range(report["devices"]):
        yield _gpu(number)


def _gpu(number: int) -> Finding:
    subject = f"GPU {number}"
    try:
        found = core.accelerator_properties(number)
        free, total = core.accelerator_memory(number)
    except DeviceError as error:
        return Finding(subject, str(error), False, "nvidia-smi shows whether another program keeps it")
    capability = f"{found['compute_capability_major']}.{found['compute_capability_minor']}"
    return Finding(
        subject,
        f"{found['name']}, compute capability {capability}, {found['multiprocessors']} multiprocessors, "
        f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
    )


def _library(library: Library) -> Finding:
    found = find_library(library)
    if found.problem:
        return Finding(
            library.name, f"{found.problem}; needed on a GPU for {library.purpose}", False,
            f"pip install 'pycaffe-like[cuda]', or {library.package} alone",
        )  # fmt: skip
    return Finding(library.name, f"{found.version}, {found.path}")


def _pycuda() -> Finding:
    try:
        return Finding("PyCUDA", importlib.metadata.version("pycuda"))
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            "PyCUDA", "not installed; for CUDA kernels in layers written in Python", None,
            "pip install 'pycaffe-like[pycuda]', which needs the CUDA toolkit",
        )  # fmt: skip


NET = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 8 dim: 16 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "y"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
"""


def try_gpu(number: int) -> Finding:
    """Run a small net forward and backward on a GPU, and compare it with the CPU."""
    subject = f"-gpu {number}"
    try:
        set_device(number)
        core.use_accelerator()
        results = [_run(net_from_text(NET, TEST, seed=1, device=device)) for device in ("cpu", "cuda")]
    except DeviceError as error:
        return Finding(subject, f"nets do not run on it: {error}", False)
    difference = max(float(abs(cpu - gpu).max() / abs(cpu).max()) for cpu, gpu in zip(*results))
    if not difference < 1e-3:
        return Finding(
            subject, f"a net computes something else there, by {difference:.1g} of the result", False
        )
    return Finding(subject, "a net runs forward and backward on it, with the results of the CPU")


def _run(net: Net) -> list[np.ndarray[Any, Any]]:
    """Outputs and gradients of the input."""
    x, y = net.blobs["x"], net.blobs["y"]
    x.data[...] = np.random.default_rng(1).standard_normal(x.shape)
    net.forward()
    y.diff[...] = np.random.default_rng(2).standard_normal(y.shape)
    net.backward()
    return [y.data.copy(), x.diff.copy()]
