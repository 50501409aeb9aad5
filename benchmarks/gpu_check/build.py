"""Step: installs wheels, builds the GPU part for the device of this machine, assembles a package.

``python -m benchmarks.gpu_check.build FOLDER [--wheels FOLDER] [--emulated]``
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata, util
from pathlib import Path

from .figures import Figures
from .wheels import install, site_folder

ROOT = Path(__file__).parents[2]
ISA = "avx2"  # half the time of building both; nets on a GPU compute nothing on the CPU


def main() -> None:
    """Build; figures are the seconds of each part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--emulated", action="store_true")
    options = parser.parse_args()
    figures = Figures()
    start = time.perf_counter()
    if options.wheels:
        install(sorted(options.wheels.resolve().glob("*.whl")), options.folder / "wheels")
        sys.path.insert(0, str(site_folder(options.folder / "wheels")))
    figures.note(install_seconds=_since(start), versions=tool_versions())
    start = time.perf_counter()
    _run("cmake", *configure_arguments(options.folder, emulated=options.emulated))
    figures.note(configure_seconds=_since(start))
    start = time.perf_counter()
    _run("cmake", "--build", str(options.folder), "--", "-k", "0")  # all errors at once
    figures.note(compile_seconds=_since(start))
    _run("bash", str(ROOT / ".ci" / "assemble"), str(options.folder))


def configure_arguments(folder: Path, *, emulated: bool) -> list[str]:
    """Arguments of CMake."""
    cuda = ["-DCAFFE_CUDA=EMULATED"] if emulated else ["-DCAFFE_CUDA=ON", *_cuda_arguments()]
    return [
        *("-S", str(ROOT), "-B", str(folder), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
        f"-DCMAKE_PREFIX_PATH={folder / 'wheels'}",
        # A compiler that was never tried has warnings of its own, which are no reason to measure nothing.
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-DCAFFE_ISA={ISA}", "-DCAFFE_WARNINGS_AS_ERRORS=OFF"),
        *cuda,
    ]


def _cuda_arguments() -> list[str]:
    return [f"-DCMAKE_CUDA_COMPILER={find_nvcc()}", f"-DCAFFE_CUDA_ARCHITECTURES={architecture()}"]


def architecture() -> str:
    """The device's own, as CMake writes it; Hopper's has instructions of its own."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader", "--id=0"]
    capability = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    number = capability.replace(".", "")
    return f"{number}a-real" if number == "90" else f"{number}-real"


def find_nvcc() -> str:
    """Path of the CUDA compiler: on PATH, where CUDA is usually installed, or in its wheel."""
    places = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    nvidia = util.find_spec("nvidia")
    if nvidia and nvidia.submodule_search_locations:
        places += [str(Path(place) / "cu13") for place in nvidia.submodule_search_locations]
    found = shutil.which("nvcc") or next(
        (path for path in (f"{place}/bin/nvcc" for place in places if place) if Path(path).exists()), None
    )
    if not found:
        sys.exit("nvcc is not on PATH, in CUDA_HOME, in /usr/local/cuda or among the Python packages")
    return found


def tool_versions() -> dict[str, str]:
    """What builds, and the Python packages that matter."""
    versions = {"python": sys.version.split()[0]}
    for tool in ("cmake", "g++", "nvcc"):
        lines = _output(tool, "--version").splitlines()
        versions[tool] = next((line for line in lines if "release" in line), lines[0] if lines else "missing")
    for name in ("torch", "triton", "numpy", "nvidia-cudnn-cu13", "nvidia-cublas"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _run(*command: str) -> None:
    print("+", *command, flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(f"{command[0]} ended with status {status}")


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 1)


if __name__ == "__main__":
    main()
