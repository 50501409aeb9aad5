"""Solvers on a GPU: iterations that run ahead and repeat a recording do what step-by-step ones do."""

import numpy as np
import pytest

from pycaffe_like.data.lmdb_database import create_database
from pycaffe_like.device import default_device
from pycaffe_like.errors import DataError
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt.upgrade import read_solver
from pycaffe_like.solver.types import SGDSolver

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")

NET = """
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.01 mirror: true crop_size: 10 }
  data_param { source: "train_lmdb" batch_size: 6 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 momentum: 0.9 weight_decay: 0.001 random_seed: 3
lr_policy: "step" gamma: 0.5 stepsize: 5
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Hold a database of 20 images, and the net; the current folder."""
    rng = np.random.default_rng(0)
    with create_database(str(tmp_path / "train_lmdb")) as database:
        for index in range(20):
            image = rng.integers(0, 256, (3, 12, 12), np.uint8)
            datum = schema.Datum(channels=3, height=12, width=12, data=image.tobytes(), label=index % 5)
            database.put(f"{index:08d}".encode(), datum.SerializeToString())
    (tmp_path / "net.prototxt").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def solver(folder, settings="", **options):
    (folder / "solver.prototxt").write_text(SOLVER + settings)
    return SGDSolver(read_solver("solver.prototxt"), keep_data=False, keep_diffs=False, **options)


def weights(solver):
    return [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]


def train(solver, iterations):
    try:
        solver.step(iterations)
        return weights(solver)
    finally:
        solver.close()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["", "iter_size: 2 ", "clip_gradients: 0.5 iter_size: 3 "])
def test_weights_are_those_of_the_cpu(folder, precision, kind):
    # In bfloat16 the two round differently, and training makes ten times as much of it in three steps.
    steps, allowed = (6, 1e-4) if precision == "float32" else (3, 5e-2)
    got = train(solver(folder, kind, precision=precision, device="cuda"), steps)
    wanted = train(solver(folder, kind, precision=precision, device="cpu"), steps)
    for one, other in zip(got, wanted):
        assert np.abs(one - other).max() <= allowed * max(1, np.abs(other).max())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "kind", ["", "iter_size: 3 ", "clip_gradients: 0.5 ", "clip_gradients: 2 iter_size: 2 "]
)
def test_recorded_iterations_give_the_bits_of_single_steps(folder, precision, kind, caplog):
    caplog.set_level("INFO")
    training = solver(folder, kind, precision=precision, device="cuda")
    quiet = train(training, 12)
    assert training._step.repeated
    clipped = [record.getMessage() for record in caplog.records if "Clipping" in record.getMessage()]
    assert bool(clipped) == ("clip" in kind)
    caplog.clear()
    watched = train(solver(folder, kind + "display: 1", precision=precision, device="cuda"), 12)
    assert clipped == [record.getMessage() for record in caplog.records if "Clipping" in record.getMessage()]
    for one, other in zip(quiet, watched):
        assert np.array_equal(one, other)


SIDE = """
layer { name: "side" type: "Convolution" bottom: "conv" top: "side"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "side" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" """


def test_gradients_that_add_up_in_place_are_recorded_too(folder):
    text = NET.replace('\nlayer { name: "pool" type: "Pooling" bottom: "conv" ', SIDE)
    (folder / "net.prototxt").write_text(text)
    watched = solver(folder, "display: 1", device="cuda")
    assert [node.name for node in watched.net.plan.graph.nodes if node.arguments.get("accumulates")]
    quiet = train(solver(folder, device="cuda"), 12)
    for one, other in zip(quiet, train(watched, 12), strict=True):
        np.testing.assert_array_equal(one, other)


def test_iterations_are_recorded_and_their_losses_taken_in(folder):
    training = solver(folder, "average_loss: 12", device="cuda")
    train(training, 12)
    assert training._step.repeated
    watched = solver(folder, "average_loss: 12 display: 1", device="cuda")
    train(watched, 12)
    assert training._smoothed.losses == pytest.approx(watched._smoothed.losses, rel=1e-6)


def test_recording_can_be_switched_off(folder, monkeypatch):
    wanted = train(solver(folder, device="cuda"), 6)
    monkeypatch.setenv("CAFFE_RECORDING", "0")
    training = solver(folder, device="cuda")
    got = train(training, 6)
    assert not training._step.repeated
    for one, other in zip(got, wanted):
        assert np.array_equal(one, other)


FROZEN_ON_THE_CPU = """
layer { name: "x" type: "DummyData" top: "x" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 9 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" param { lr_mult: 0 } param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.mark.parametrize("kind", ["", "clip_gradients: 0.1 "])
def test_params_on_both_devices_are_updated_with_the_numbers_of_each_iteration(folder, kind):
    (folder / "net.prototxt").write_text(FROZEN_ON_THE_CPU)  # one axis: no convolution of the GPU
    training = solver(folder, kind, device="cuda")
    got = train(training, 8)
    assert {blob.device for blobs in training.net.params.values() for blob in blobs} == {"cpu", "cuda"}
    assert training._step.repeated
    for one, other in zip(got, train(solver(folder, kind, device="cpu"), 8)):
        assert np.abs(one - other).max() <= 1e-4


def test_resumed_run_ends_with_the_same_bits(folder):
    whole = train(solver(folder, device="cuda"), 11)
    first = solver(folder, 'snapshot: 3 snapshot_prefix: "s"', device="cuda")
    train(first, 7)
    first.snapshot()
    second = solver(folder, device="cuda")
    second.restore("s_iter_7.solverstate")
    for one, other in zip(train(second, 4), whole):
        assert np.array_equal(one, other)


def test_bad_label_is_named(folder):
    with create_database("bad_lmdb") as database:
        for index in range(20):
            datum = schema.Datum(
                channels=3, height=12, width=12, data=bytes(432), label=7 if index == 9 else 1
            )
            database.put(f"{index:08d}".encode(), datum.SerializeToString())
    (folder / "net.prototxt").write_text(NET.replace("train_lmdb", "bad_lmdb"))
    with pytest.raises(DataError, match=r"layer 'loss'.*label 7 at position 3 is not in the range 0 to 4"):
        train(solver(folder, device="cuda"), 4)


def test_all_but_the_source_of_data_runs_on_the_gpu(folder):
    training = solver(folder, device="cuda")
    training.close()
    assert [n.name for n in training.net.graph.nodes if n.device == "cpu"] == ["data"]
