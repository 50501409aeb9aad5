"""The Python packages that the build needs and that a machine with PyTorch for CUDA does not have as a rule.

They travel as wheels to a machine without a network. What it does have comes with PyTorch: the headers and
libraries of cuDNN and cuBLAS, NumPy, protobuf; and pytest, Hypothesis, SciPy, OpenCV, CMake, ninja and nvcc.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

WHEELS = (
    "onednn-devel-cpu-gomp==2023.2.0",
    "onednn-cpu-gomp==2023.2.0",
    "pybind11==3.1.0",
    "grpcio-tools==1.85.1",  # only its compiler of schemas, which needs nothing else
    "lmdb==3.0.0",
)
_TAGS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1")


def download_arguments(version: str = "3.12") -> list[str]:
    """Arguments of pip that fetch the wheels for a Python on x86-64 Linux."""
    platforms = [word for tag in _TAGS for word in ("--platform", f"{tag}_x86_64")]
    options = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", version]
    return ["download", *options, *platforms, *WHEELS]


def site_folder(prefix: Path) -> Path:
    """Where pip puts modules below a prefix."""
    scheme = sysconfig.get_preferred_scheme("prefix")
    return Path(sysconfig.get_path("purelib", scheme, {"base": str(prefix)}))


def install(wheels: Iterable[Path], prefix: Path) -> None:
    """Install below a prefix: with `--target`, pip would drop their folder lib."""
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed"]
    command += ["--no-compile", "--no-cache-dir", "--no-warn-script-location", "--prefix", str(prefix)]
    subprocess.run([*command, *map(str, wheels)], check=True)
