"""`caffe doctor` and `caffe device_query`, on a machine with a GPU, an emulated one, or none."""

import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.device_memory import emulated, on_gpu

from pycaffe_like import _core as core
from pycaffe_like.cuda_libraries import Found
from pycaffe_like.tools import device_query, doctor
from pycaffe_like.tools import main as caffe

without_gpu_part = pytest.mark.skipif(core.accelerator_built(), reason="needs a build without the GPU part")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line; returns status, standard output and error."""
    monkeypatch.delenv("GLOG_minloglevel", raising=False)

    def run(*argv):
        capsys.readouterr()
        status = caffe.main([str(word) for word in argv])
        return status, *capsys.readouterr()

    return run


# doctor


def subjects(page):
    return re.findall(r"^(?:ok|--|  )  (\S.{9})", page, re.MULTILINE)


def test_doctor_looks_at_every_part(run):
    status, page, err = run("doctor")
    assert (status, err) == (0, "")
    assert page.startswith("pycaffe-like ")
    names = [subject.strip() for subject in subjects(page)]
    assert [name for name in names if not name.startswith("GPU ") or name == "GPU part"] == [
        "CPU", "GPU part", "driver", "cuBLASLt", "NVRTC", "cuDNN", "PyCUDA",
    ]  # fmt: skip
    assert all(
        len(line) <= doctor.WIDTH for line in page.splitlines() if "->" not in line and "/" not in line
    )


def test_doctor_names_what_is_missing_and_what_is_there(run, monkeypatch):
    answers = {
        "cuDNN": Found("9.12.0", "/there/libcudnn.so.9"),
        "NVRTC": Found(problem="libnvrtc.so.13 not found"),
    }
    found = lambda library: answers.get(library.name, Found(problem="damaged"))  # noqa: E731
    monkeypatch.setattr(doctor, "find_library", found)
    page = run("doctor")[1]
    assert "ok  cuDNN     9.12.0, /there/libcudnn.so.9\n" in page
    assert "--  NVRTC     libnvrtc.so.13 not found; needed on a GPU for cuDNN's fused convolutions\n" in page
    assert "              -> pip install 'pycaffe-like[cuda]', or nvidia-cuda-nvrtc alone\n" in page
    assert "--  driver    damaged\n              -> install NVIDIA's driver" in page


@without_gpu_part
def test_doctor_fails_where_the_gpu_part_is_not_built(run):
    status, page, _ = run("doctor", "-gpu", 0)
    assert status == 1
    assert (
        "--  GPU part  not in this build\n              -> install with it: CAFFE_CUDA=1 pip install" in page
    )
    assert page.endswith("nets do not run on it: this build of pycaffe-like runs on the CPU only\n")


@on_gpu
def test_doctor_runs_a_net_on_the_gpu(run):
    status, page, _ = run("doctor", "-gpu", 0)
    assert status == 0
    assert page.endswith("ok  -gpu 0    a net runs forward and backward on it, with the results of the CPU\n")
    assert "GPU 0" in page


@emulated
def test_doctor_describes_the_emulated_gpu(run):
    page = run("doctor")[1]
    assert "ok  GPU part  emulated on the CPU, for tests, CUDA runtime 12.4\n" in page
    assert (
        "ok  GPU 0     emulated, compute capability 9.0, 132 multiprocessors, 16.0 of 16.0 GiB free\n" in page
    )


@on_gpu
def test_doctor_fails_where_a_gpu_computes_something_else(run, monkeypatch):
    results = iter([[np.float32([1, 2])], [np.float32([1, 2.01])]])
    monkeypatch.setattr(doctor, "_run", lambda net: next(results))
    status, page, _ = run("doctor", "-gpu", 0)
    assert status == 1
    assert page.endswith("--  -gpu 0    a net computes something else there, by 0.005 of the result\n")


@on_gpu
def test_doctor_fails_for_a_gpu_that_is_not_there(run):
    status, page, _ = run("doctor", "-gpu", 7)
    assert status == 1
    assert "--  -gpu 7    nets do not run on it: " in page


def test_doctor_takes_one_gpu(run):
    status, _, err = run("doctor", "-gpu", "all")
    assert status == 1
    assert "-gpu must be the number of one GPU, got 'all'" in err


# device_query

CAFFES_LABELS = [
    "Device id:", "Major revision number:", "Minor revision number:", "Name:", "Total global memory:",
    "Total shared memory per block:", "Total registers per block:", "Warp size:", "Maximum memory pitch:",
    "Maximum threads per block:", "Maximum dimension of block:", "Maximum dimension of grid:", "Clock rate:",
    "Total constant memory:", "Texture alignment:", "Concurrent copy and execution:",
    "Number of multiprocessors:", "Kernel execution timeout:",
]  # fmt: skip


def rows(text):
    """Labels and values of the lines that a command has logged."""
    messages = re.findall(r"^I.* device_query\.py:\d+\] (.*)$", text, re.MULTILINE)
    return [(line[:31].rstrip(), line[31:]) for line in messages]


@on_gpu
@pytest.mark.parametrize("which", ["0", "all"])
def test_device_query_prints_caffes_lines(run, which):
    status, _, err = run("device_query", "-gpu", which)
    assert status == 0
    first, *found = rows(err)
    assert "".join(first) == f"Querying GPUs {which}"
    labels = [label for label, _ in found]
    assert labels[: len(CAFFES_LABELS)] == CAFFES_LABELS
    assert labels.count("Device id:") == (core.accelerator_report()["devices"] if which == "all" else 1)
    values = dict(found)
    assert int(values["Free global memory:"]) <= int(values["Total global memory:"])


@emulated
def test_device_query_shows_the_emulated_gpu(run):
    values = dict(rows(run("device_query", "-gpu", "0")[2]))
    assert values["Name:"] == "emulated"
    assert (values["Major revision number:"], values["Minor revision number:"]) == ("9", "0")
    assert values["Maximum dimension of block:"] == "1024, 1024, 64"
    assert values["Maximum dimension of grid:"] == "2147483647, 65535, 65535"
    assert values["Concurrent copy and execution:"] == "No"
    assert values["Total global memory:"] == str(16 << 30)
    assert values["CUDA driver version:"] == values["CUDA runtime version:"] == "12.4"


@on_gpu
@pytest.mark.parametrize(
    ("which", "error"), [("99", "-gpu 99: there is no GPU 99, only"), ("0,x", "number of one GPU, got 'x'")]
)
def test_device_query_names_a_gpu_that_is_not_there(run, which, error):
    status, _, err = run("device_query", "-gpu", which)
    assert status == 1
    assert error in err


@on_gpu
def test_device_query_without_a_number_counts_gpus(run):
    err = run("device_query")[2]
    assert f"GPUs that can be used: {core.accelerator_report()['devices']}; -gpu all shows them." in err
    assert dict(rows(err))["Threads in use:"] == str(core.thread_count())


@without_gpu_part
@pytest.mark.parametrize(
    "question", ["accelerator_report()", "accelerator_properties(0)", "accelerator_memory(0)"]
)
def test_questions_need_the_gpu_part(question):
    with pytest.raises(device_query.DeviceError, match="runs on the CPU only"):
        eval(f"core.{question}")


@on_gpu
def test_questions_set_no_gpu_up(tmp_path):
    code = """
from pycaffe_like import _core as core
assert core.accelerator_report()["devices"] > 0
assert core.accelerator_properties(0)["warp_size"] == 32
free, total = core.accelerator_memory(0)
assert 0 < free <= total
assert not core.accelerator_in_use()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
