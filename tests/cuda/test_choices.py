"""Which convolution kernel is fastest is remembered in a file that may be damaged, shared or missing."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LAYERS = HERE.parents[1] / "layers_cuda"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    program = tmp_path_factory.mktemp("choices") / "remember_choices"
    sources = [HERE / "remember_choices.cpp", LAYERS / "math" / "cudnn_choices.cpp"]
    subprocess.run(["g++", "-std=c++20", "-I", LAYERS, "-o", program, *sources], check=True)
    return program


@pytest.fixture
def remember(program):
    def remember(file, *pair):
        run = subprocess.run([program, file, *pair], capture_output=True, text=True, check=True)
        return run.stdout.removesuffix("\n")

    return remember


def test_choice_is_found_by_another_process(remember, tmp_path):
    file = tmp_path / "cache" / "choices.txt"
    assert remember(file) == ""
    assert remember(file, "a", "engine 3 2:1") == "engine 3 2:1"
    assert remember(file) == "engine 3 2:1"
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_newer_choice_replaces_the_older_and_leaves_others_alone(remember, tmp_path):
    file = tmp_path / "choices.txt"
    remember(file, "a", "first")
    remember(file, "b", "other")
    assert remember(file, "a", "second") == "second"
    assert sorted(file.read_text().splitlines()) == ["a = second", "b = other"]


def test_damaged_file_is_read_as_far_as_it_makes_sense(remember, tmp_path):
    file = tmp_path / "choices.txt"
    file.write_bytes(b"\x00\xff = \n = \nno separator\n" + b"x" * 100_000 + b" = 1\na = good\nb")
    assert remember(file) == "good"
    assert remember(file, "a", "better") == "better"
    assert remember(file) == "better"


def test_file_that_cannot_be_written_is_no_error(remember, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert remember(blocker / "choices.txt", "a", "engine 3") == "engine 3"
    assert remember("", "a", "engine 3") == "engine 3"
    assert blocker.read_text() == ""
