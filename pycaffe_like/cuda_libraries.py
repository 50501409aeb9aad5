"""NVIDIA's libraries: where they are, and which versions."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_GENERATION = 13  # of CUDA, for which the GPU part is made


@dataclass(frozen=True)
class Library:
    """A library that the GPU part loads.

    Attributes
    ----------
    name : str
        What it is called.
    file : str
        The file that the linker knows.
    package : str
        What brings it, for pip.
    purpose : str
        What does not work without it.
    version : callable
        Takes the loaded library, returns its version.
    """

    name: str
    file: str
    package: str
    purpose: str
    version: Callable[[ctypes.CDLL], str]


@dataclass(frozen=True)
class Found:
    """What came of the search for a library.

    Attributes
    ----------
    version, path : str
        Empty if it cannot be used.
    problem : str
        Why it cannot be used.
    """

    version: str = ""
    path: str = ""
    problem: str = ""


def _of_driver(library: ctypes.CDLL) -> str:
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    return cuda_version(version.value)


def _of_cudnn(library: ctypes.CDLL) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = library.cudnnGetVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _of_cublas_lt(library: ctypes.CDLL) -> str:
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    number = library.cublasLtGetVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _of_nvrtc(library: ctypes.CDLL) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


DRIVER = Library("driver", "libcuda.so.1", "", "any work on a GPU", _of_driver)
LIBRARIES = (  # cuDNN loads the others
    Library("cuBLASLt", f"libcublasLt.so.{_GENERATION}", "nvidia-cublas", "matrix products", _of_cublas_lt),
    Library(
        "NVRTC", f"libnvrtc.so.{_GENERATION}", "nvidia-cuda-nvrtc", "cuDNN's fused convolutions", _of_nvrtc
    ),
    Library("cuDNN", "libcudnn.so.9", "nvidia-cudnn-cu13", "convolutions", _of_cudnn),
)


def library_folders() -> list[str]:
    """Return the folders of this environment in which pip puts NVIDIA's libraries."""
    nvidia = importlib.util.find_spec("nvidia")
    places = nvidia.submodule_search_locations if nvidia else None
    return [str(folder) for place in places or [] for folder in sorted(Path(place).glob("*/lib"))]


def find_library(library: Library) -> Found:
    """Load a library as the GPU part does: from `library_folders`, else from where the system looks."""
    folders = [Path(folder) for folder in library_folders()]
    candidates = [str(folder / library.file) for folder in folders if (folder / library.file).exists()]
    problems = []
    for candidate in [*candidates, library.file]:
        try:
            loaded = ctypes.CDLL(candidate)
            return Found(library.version(loaded), _path_of(library.file) or candidate)
        except (OSError, AttributeError) as error:  # missing or damaged; without the function that we ask
            problems.append(str(error))
    if len(problems) == 1 and "No such file" in problems[0]:
        return Found(problem=f"{library.file} not found")
    return Found(problem=problems[0])  # of a file that is there


def _path_of(file: str) -> str:
    """Path of a library that is loaded; empty where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return ""
    paths = (line.split(maxsplit=5)[-1] for line in lines)
    return next((path for path in paths if Path(path).name.startswith(file)), "")


def cuda_version(number: int) -> str:
    """Word a version of CUDA's runtime or driver: 13000 is 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"
