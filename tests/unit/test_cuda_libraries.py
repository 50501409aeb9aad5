"""Where NVIDIA's libraries are found, tried with libraries of our own."""

import shutil
import subprocess

import pytest

from pycaffe_like import cuda_libraries
from pycaffe_like.cuda_libraries import Library, cuda_version, find_library, library_folders

# What the libraries answer when they are asked for their version.
ANSWERS = {
    "libcublasLt.so.13": ("size_t cublasLtGetVersion(void) { return 130204; }", "13.2.4"),
    "libnvrtc.so.13": ("int nvrtcVersion(int* a, int* b) { *a = 13, *b = 2; return 0; }", "13.2"),
    "libcudnn.so.9": ("size_t cudnnGetVersion(void) { return 91301; }", "9.13.1"),
}


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Let pip's folder for NVIDIA's packages be an empty one; returns a folder for libraries in it."""
    package = tmp_path / "nvidia" / "part" / "lib"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cuda_libraries, "_path_of", lambda file: "")
    assert str(package) in library_folders()
    return package


def compile_library(path, code):
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    command = ["cc", "-shared", "-fPIC", "-include", "stddef.h", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=code, text=True, check=True)


def renamed(library, file):
    """The same library under a name that no other test has loaded."""
    return Library(library.name, file, library.package, library.purpose, library.version)


@pytest.mark.parametrize("library", cuda_libraries.LIBRARIES, ids=lambda library: library.name)
def test_library_of_a_package_tells_its_version(environment, library):
    code, version = ANSWERS[library.file]
    library = renamed(library, f"{library.file}.ours")
    compile_library(environment / library.file, code)
    found = find_library(library)
    assert (found.version, found.path, found.problem) == (version, str(environment / library.file), "")


def test_driver_tells_the_latest_cuda_it_runs(environment):
    library = renamed(cuda_libraries.DRIVER, "libcuda.so.1.ours")
    compile_library(
        environment / library.file, "int cuDriverGetVersion(int* version) { *version = 13010; return 0; }"
    )
    assert find_library(library).version == "13.1"


def test_missing_library_is_not_found(environment):
    library = renamed(cuda_libraries.DRIVER, "libno_such_library.so.1")
    assert find_library(library).problem == "libno_such_library.so.1 not found"


def test_damaged_library_says_so(environment):
    library = renamed(cuda_libraries.DRIVER, "libdamaged.so.1")
    (environment / library.file).write_text("not a library")
    found = find_library(library)
    assert found.version == ""
    assert str(environment / library.file) in found.problem


def test_library_without_the_function_says_so(environment):
    library = renamed(cuda_libraries.DRIVER, "libother.so.1")
    compile_library(environment / library.file, "int other;")
    assert "undefined symbol: cuDriverGetVersion" in find_library(library).problem


def test_versions_of_cuda_are_worded():
    assert [cuda_version(number) for number in (13000, 12040, 13010)] == ["13.0", "12.4", "13.1"]
