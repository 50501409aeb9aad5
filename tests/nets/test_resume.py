"""Kill a training run at any moment, resume it, and get the same bits as a run that was left alone."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import cv2
import h5py
import numpy as np
import pytest

from pycaffe_like.data.lmdb_database import create_database
from pycaffe_like.errors import DataError
from pycaffe_like.prototxt import schema
from pycaffe_like.solver.snapshot import read_snapshot
from pycaffe_like.weights.caffemodel import read_weights

pytestmark = pytest.mark.net

_TRANSFORM = "transform_param { scale: 0.01 mirror: true crop_size: 10 }"
SOURCES = {
    "database": f"""type: "Data" {_TRANSFORM}
        data_param {{ source: "train_lmdb" batch_size: 8 backend: LMDB }}""",
    "shuffled_database": f"""type: "Data" {_TRANSFORM}
        data_param {{ source: "train_lmdb" batch_size: 8 backend: LMDB shuffle: true rand_skip: 30 }}""",
    "image_list": f"""type: "ImageData" {_TRANSFORM} image_data_param {{
        source: "list.txt" root_folder: "files/" batch_size: 8 shuffle: true rand_skip: 30
        new_height: 13 new_width: 14 }}""",
    "hdf5": """type: "HDF5Data" hdf5_data_param { source: "rows.txt" batch_size: 8 shuffle: true }""",
}
NET = """
name: "tiny"
layer { name: "data" top: "data" top: "label" include { phase: TRAIN } SOURCE }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.01 crop_size: 10 }
  data_param { source: "train_lmdb" batch_size: 6 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" test_iter: 3 test_interval: 30 display: 1 max_iter: 120 snapshot: 10 snapshot_prefix: "s"
lr_policy: "multistep" gamma: 0.5 stepvalue: [35, 75] base_lr: 0.05 weight_decay: 0.001 average_loss: 4
"""
TYPES = {
    "SGD": 'type: "SGD" momentum: 0.9 iter_size: 2',
    "Adam": 'type: "Adam" momentum: 0.9 base_lr: 0.01',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hold 37 images: in a database, in files that a list names, and in two HDF5 files."""
    folder = tmp_path_factory.mktemp("resume")
    images = np.random.default_rng(0).integers(0, 256, (37, 3, 12, 12), np.uint8)
    labels = np.arange(37) % 5
    (folder / "files").mkdir()
    with create_database(str(folder / "train_lmdb")) as database:
        for index, (image, label) in enumerate(zip(images, labels)):
            datum = schema.Datum(channels=3, height=12, width=12, data=image.tobytes(), label=label)
            database.put(f"{index:08d}".encode(), datum.SerializeToString())
            cv2.imwrite(str(folder / "files" / f"{index}.png"), image.transpose(1, 2, 0))
    (folder / "list.txt").write_text("".join(f"{i}.png {label}\n" for i, label in enumerate(labels)))
    for name, rows in (("0", slice(0, 20)), ("1", slice(20, 37))):
        with h5py.File(folder / "files" / f"{name}.h5", "w") as file:
            file["data"], file["label"] = images[rows, :, 1:11, 1:11] / 100, labels[rows]
    (folder / "rows.txt").write_text("files/0.h5 files/1.h5")
    return folder


def make_run(folder, name, settings, snapshot=10, source="database"):
    """Make a folder to run in; returns it."""
    run = folder / name
    run.mkdir()
    for shared in ("train_lmdb", "files", "list.txt", "rows.txt"):
        (run / shared).symlink_to(folder / shared)
    (run / "net.prototxt").write_text(NET.replace("SOURCE", SOURCES[source]))
    base = re.sub(r"base_lr: \S+", "", SOLVER) if "base_lr" in settings else SOLVER
    base = base.replace("snapshot: 10", f"snapshot: {snapshot}")
    (run / "solver.prototxt").write_text(base + settings)
    return run


def start(run, *flags, log="log"):
    command = [sys.executable, "-m", "pycaffe_like.tools.main", "train", "-solver", "solver.prototxt", *flags]
    with open(run / log, "ab") as file:
        # One thread: several are slow on a busy machine, and the bits depend on their number.
        return subprocess.Popen(command, cwd=run, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})


def train(run, *flags, log="log"):
    assert start(run, *flags, log=log).wait(timeout=300) == 0, (run / log).read_text()[-2000:]


def newest_state(run):
    states = sorted(run.glob("*.solverstate"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return states[-1].name if states else None


def results(run, log="log"):
    """Lines of the log that a resumed run must repeat, by what they are about."""
    text = (run / log).read_text()
    lines = re.findall(r"\] (.*)", text)
    kept = {}
    iteration = 0
    for line in lines:
        if found := re.match(r"Iteration (\d+)", line):
            iteration = int(found[1])
        line = re.sub(r" \(.* iters\)", "", line)
        if "output #" in line or ", loss = " in line or ", lr = " in line:
            kept[iteration, line.partition(" = ")[0]] = line
    return kept


def final_weights(run):
    layers = read_weights(run / "s_iter_120.caffemodel")
    return {
        f"{layer.name}/{i}": blob.data.tobytes() for layer in layers for i, blob in enumerate(layer.blobs)
    }


def final_state(run, monkeypatch):
    monkeypatch.chdir(run)
    return read_snapshot("s_iter_120.solverstate")


def check_same_end(whole, run, monkeypatch):
    assert final_weights(run) == final_weights(whole)
    mine, other = final_state(run, monkeypatch), final_state(whole, monkeypatch)
    assert [array.tobytes() for array in mine.history] == [array.tobytes() for array in other.history]
    assert mine.message == other.message
    assert results(run) == results(whole)


def kill_while_training(run, iteration, delay, *flags):
    """Start a run, kill it so many seconds after it has printed an iteration; false if it had ended."""
    process = start(run, *flags)
    try:
        wait_for(run / "log", f"Iteration {iteration},")
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
    code = process.wait()
    assert code in (-signal.SIGKILL, 0)
    return code != 0


@pytest.mark.parametrize("kind", TYPES)
def test_killed_run_resumes_with_the_same_bits(folder, monkeypatch, kind):
    check_kills(folder, monkeypatch, kind, kills=3, seed=1)


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"database"}))
def test_killed_run_resumes_in_the_middle_of_a_shuffled_epoch(folder, monkeypatch, source):
    check_kills(folder, monkeypatch, "SGD", kills=1, seed=4, source=source)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_run_killed_many_times_resumes_with_the_same_bits(folder, monkeypatch, seed):
    check_kills(folder, monkeypatch, "SGD", kills=10, seed=seed)


def check_kills(folder, monkeypatch, kind, kills, seed, source="database"):
    settings = TYPES[kind] + " random_seed: 7"
    name = f"{source}_{kind}_{seed}"
    whole = make_run(folder, f"whole_{name}", settings, 2, source)
    train(whole)
    run = make_run(folder, f"killed_{name}", settings, 2, source)
    draw = random.Random(seed)
    killed = 0
    for iteration in sorted(draw.sample(range(1, 110), kills)):
        state = newest_state(run)
        killed += kill_while_training(
            run, iteration, draw.uniform(0, 0.02), *(["-snapshot", state] if state else [])
        )
        check_pairs(run, monkeypatch)
        remove_last_snapshot(run)
    assert killed > kills // 2
    train(run, "-snapshot", newest_state(run))
    check_same_end(whole, run, monkeypatch)


def remove_last_snapshot(run):
    """A kill may come when the run is at its end; the next one has to have work left."""
    for path in run.glob("s_iter_120.*"):
        path.unlink()


def check_pairs(run, monkeypatch):
    """Every state that has its name is complete, and so are its weights."""
    monkeypatch.chdir(run)
    for path in run.glob("*.solverstate"):
        try:
            read_snapshot(path.name)
        except DataError as error:
            pytest.fail(f"after a kill: {error}")


def test_seed_from_entropy_goes_on_after_resume(folder, monkeypatch):
    whole = make_run(folder, "entropy", TYPES["SGD"])
    train(whole)
    run = make_run(folder, "entropy_resumed", TYPES["SGD"])
    for path in whole.glob("s_iter_60.*"):
        (run / path.name).write_bytes(path.read_bytes())
    train(run, "-snapshot", "s_iter_60.solverstate")
    assert final_weights(run) == final_weights(whole)


@pytest.mark.parametrize(("number", "effect"), [(signal.SIGINT, "stop"), (signal.SIGHUP, "snapshot")])
def test_signal_stops_or_snapshots_and_the_run_stays_exact(folder, monkeypatch, number, effect):
    # No snapshot but the one asked for and the last; long iterations, so that the signal is in time.
    settings = TYPES["SGD"].replace("iter_size: 2", "iter_size: 20") + " random_seed: 7"
    whole = make_run(folder, f"whole_{effect}", settings, snapshot=1000)
    train(whole)
    run = make_run(folder, f"signalled_{effect}", settings, snapshot=1000)
    process = start(run)
    wait_for(run / "log", "Iteration 12,")
    os.kill(process.pid, number)
    assert process.wait(timeout=300) == 0
    text = (run / "log").read_text()
    if effect == "stop":
        assert "Optimization stopped early." in text
        assert text.rstrip().endswith("Optimization Done.")
        train(run, "-snapshot", newest_state(run))
    else:
        assert len(list(run.glob("*.solverstate"))) == 2, "no snapshot beside the last one"
    check_same_end(whole, run, monkeypatch)


def wait_for(log, text):
    deadline = time.monotonic() + 120
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.005)
