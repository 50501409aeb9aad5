"""A net with an LSTM whose training is stopped and resumed gives the same bits as one that was left alone."""

import numpy as np
import pytest

import caffe
from pycaffe_like.data.lmdb_database import create_database
from pycaffe_like.prototxt import schema

pytestmark = pytest.mark.net

# One record is a step of all items: the layer's state goes on from batch to batch, and cont is always 1.
NET = """
name: "recurrent"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.01 } data_param { source: "steps_lmdb" batch_size: 6 backend: LMDB } }
layer { name: "x" type: "Reshape" bottom: "data" top: "x"
  reshape_param { shape { dim: 3 dim: 2 dim: -1 } } }
layer { name: "cont" type: "DummyData" top: "cont"
  dummy_data_param { shape { dim: 3 dim: 2 } data_filler { value: 1 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
  recurrent_param { num_output: 7 weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
layer { name: "scores" type: "InnerProduct" bottom: "h" top: "scores"
  inner_product_param { num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "rows" type: "Reshape" bottom: "scores" top: "rows"
  reshape_param { shape { dim: -1 dim: 5 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "rows" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" max_iter: 20 snapshot_prefix: "s"
random_seed: 7
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Work in a folder with a database of 25 records, a net and a solver."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with create_database("steps_lmdb") as database:
        for index in range(25):
            image = rng.integers(0, 256, (1, 3, 4), np.uint8)
            datum = schema.Datum(channels=1, height=3, width=4, data=image.tobytes(), label=index % 5)
            database.put(f"{index:08d}".encode(), datum.SerializeToString())
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)


def state_of(net):
    return [blob.data.copy() for node in net.graph.nodes for blob in node.state]


def weights_of(net):
    return [blob.data.copy() for blobs in net.params.values() for blob in blobs]


def test_training_goes_on_from_the_state_it_had():
    whole = caffe.SGDSolver("solver.prototxt")
    whole.step(8)
    whole.snapshot()
    carried = state_of(whole.net)
    assert all(values.any() for values in carried)
    whole.step(5)

    resumed = caffe.SGDSolver("solver.prototxt")
    resumed.restore("s_iter_8.solverstate")
    for got, wanted in zip(state_of(resumed.net), carried, strict=True):
        assert got.tobytes() == wanted.tobytes()
    resumed.step(5)
    for got, wanted in zip(weights_of(resumed.net), weights_of(whole.net), strict=True):
        assert got.tobytes() == wanted.tobytes()
    for got, wanted in zip(state_of(resumed.net), state_of(whole.net), strict=True):
        assert got.tobytes() == wanted.tobytes()
