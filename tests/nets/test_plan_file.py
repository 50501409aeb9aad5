"""A plan in a file, run by a program without Python: the same bits; damaged files are refused."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import caffe
from pycaffe_like import _core
from pycaffe_like.errors import ConfigError
from pycaffe_like.plan.file import write_plan
from pycaffe_like.testing import net_from_text

ROOT = Path(__file__).parents[2]
LENET = ROOT / "models" / "lenet" / "deploy.prototxt"


@pytest.fixture(scope="module")
def program():
    """Path of the program that was built with the core under test."""
    name = f"run_plan_{_core.__file__.split('_core_')[1].split('.')[0]}"
    built = sorted(ROOT.glob(f"build/*/{name}"), key=os.path.getmtime)
    if not built:
        pytest.skip(f"{name} is not built here: it lies in CMake's build folder")
    return built[-1]


def run(program, *words, check=True):
    # In a build by pip the program's own paths to oneDNN are gone.
    libraries = [str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
    command = [str(program), *map(str, words)]
    return subprocess.run(command, check=check, capture_output=True, text=True, env=environment)


@pytest.fixture
def lenet(tmp_path):
    """A net, its plan in a file, an input in a file, and what Python computes."""
    net = caffe.Net(str(LENET), caffe.TEST, keep_data=False, seed=1)
    random = np.random.default_rng(1)
    for blob in (blob for blobs in net.params.values() for blob in blobs):  # a deploy file has no fillers
        blob.data[...] = random.standard_normal(blob.shape) * 0.1
    write_plan(net.plan, tmp_path / "net.plan")
    picture = np.random.default_rng(2).random(net.blobs["data"].shape, np.float32)
    picture.tofile(tmp_path / "data")
    return net.forward(data=picture)["prob"].copy(), tmp_path


def test_program_gives_the_same_bits_as_python(program, lenet):
    wanted, folder = lenet
    run(program, folder / "net.plan", f"data={folder}/data", f"prob>{folder}/prob")
    got = np.fromfile(folder / "prob", np.float32)
    assert got.tobytes() == wanted.tobytes()
    assert len(np.unique(got)) > 1


def test_so_it_does_for_maps_that_take_turns_in_memory(program, tmp_path):
    conv = 'convolution_param { num_output: 7 kernel_size: 3 pad: 1 weight_filler { type: "msra" } }'
    net = net_from_text(
        f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 7 dim: 9 dim: 8 }} }} }}
        layer {{ name: "a" type: "Convolution" bottom: "x" top: "a" {conv} }}
        layer {{ name: "r" type: "ReLU" bottom: "a" top: "a" }}
        layer {{ name: "b" type: "Convolution" bottom: "a" top: "b" {conv} }}
        layer {{ name: "c" type: "Convolution" bottom: "b" top: "c" {conv} }}
        layer {{ name: "s" type: "Eltwise" bottom: "c" bottom: "a" top: "s" }}
        """,
        caffe.TEST, keep_data=False, seed=3,
    )  # fmt: skip
    assert net.plan.places
    x = np.random.default_rng(4).standard_normal((2, 7, 9, 8)).astype(np.float32)
    x.tofile(tmp_path / "x")
    write_plan(net.plan, tmp_path / "net.plan")
    run(program, tmp_path / "net.plan", f"x={tmp_path}/x", f"s>{tmp_path}/s")
    assert (tmp_path / "s").read_bytes() == np.ascontiguousarray(net.forward(x=x)["s"]).tobytes()


def test_program_links_neither_python_nor_protobuf(program):
    needed = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
    assert "libdnnl" in needed
    assert "python" not in needed.lower()
    assert "proto" not in needed.lower()


def test_damaged_plans_are_refused(program, lenet):
    _, folder = lenet
    data = (folder / "net.plan").read_bytes()
    end = len(data) - 4
    changed = [data[:-1], data[:40], b"", b"x" + data[1:], data[:1000] + b"\xff" + data[1001:]]
    for place in range(12, 600, 7):  # with the right checksum: what the reader checks itself
        body = data[:place] + b"\xff\xff\xff\x7f" + data[place + 4 : end]
        changed.append(body + zlib.crc32(body).to_bytes(4, "little"))
    for number, content in enumerate(changed):
        (folder / "bad.plan").write_bytes(content)
        result = run(program, folder / "bad.plan", check=False)
        assert result.returncode in (0, 1), f"file {number}: {result.returncode}"
        assert result.returncode == (1 if number < 5 else result.returncode)
        assert result.stderr.startswith("run_plan: ") == (result.returncode == 1)


INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'


def test_what_cpp_alone_cannot_run_is_refused(tmp_path):
    user = 'python_param { module: "helpers.python_layers" layer: "Scaled" }'
    net = net_from_text(
        f'{INPUT} layer {{ name: "p" type: "Python" bottom: "x" top: "y" {user} }}', caffe.TEST
    )
    with pytest.raises(ConfigError, match=r"layer 'p' .*needs Python"):
        write_plan(net.plan, tmp_path / "net.plan")
    learns = 'layer { name: "b" type: "Bias" bottom: "x" top: "y" loss_weight: 1 }'
    with pytest.raises(ConfigError, match="run forward"):
        write_plan(net_from_text(f"{INPUT} {learns}", caffe.TRAIN).plan, tmp_path / "net.plan")
