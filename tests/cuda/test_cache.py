"""Plans of convolutions are remembered in files that may be damaged, shared or missing."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LAYERS = HERE.parents[1] / "layers_cuda"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    program = tmp_path_factory.mktemp("cache") / "cache"
    sources = [HERE / "cache.cpp", LAYERS / "math" / "cudnn_cache.cpp"]
    subprocess.run(["g++", "-std=c++20", "-I", LAYERS, "-o", program, *sources], check=True)
    return program


@pytest.fixture
def cache(program):
    def cache(*words):
        return subprocess.run([program, *words], capture_output=True, text=True, check=True).stdout

    return cache


def test_text_is_found_by_another_process(cache, tmp_path):
    folder = tmp_path / "new" / "cache"
    assert cache(folder, "a") == "absent"
    assert cache(folder, "a", "two\nlines\n") == "two\nlines\n"
    assert cache(folder, "a") == "two\nlines\n"
    assert cache(folder, "b") == "absent"
    assert cache(folder, "a", "") == ""
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: good[:-1],
        lambda good: good.replace(b"text", b"test"),
        lambda good: good.replace(b"a\n", b"b\n"),
        lambda good: b"\x00\xff" * 1000,
    ],
)
def test_damaged_file_counts_as_absent_and_is_replaced(cache, tmp_path, damage):
    cache(tmp_path, "a", "good text")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert cache(tmp_path, "a") == "absent"
    assert cache(tmp_path, "a", "better text") == "better text"


def test_folder_that_cannot_be_written_is_no_error(cache, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert cache(blocker / "folder", "a", "text") == "absent"
    assert cache("", "a", "text") == "absent"
    assert blocker.read_text() == ""
