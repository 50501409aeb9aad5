"""Which nets a solver builds, and for which states."""

import logging

import numpy as np
import pytest

from pycaffe_like.errors import ConfigError
from pycaffe_like.prototxt.schema import SolverParameter
from pycaffe_like.prototxt.text import parse
from pycaffe_like.solver.types import SGDSolver

# One layer a state; its name tells the state.
LAYERS = """
  layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
  layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" loss_weight: 1
    inner_product_param { num_output: 1 weight_filler { type: "gaussian" } } }
  layer { name: "train" type: "ReLU" bottom: "x" top: "train" include { phase: TRAIN } }
  layer { name: "test" type: "ReLU" bottom: "x" top: "test" include { phase: TEST } }
  layer { name: "level2" type: "ReLU" bottom: "x" top: "level2" include { min_level: 2 } }
  layer { name: "stage_a" type: "ReLU" bottom: "x" top: "stage_a" include { stage: "a" } }
  layer { name: "stage_b" type: "ReLU" bottom: "x" top: "stage_b" include { stage: "b" } }
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"{name}.prototxt").write_text(f'name: "{name}" {LAYERS}')
    (tmp_path / "staged.prototxt").write_text(f'name: "staged" state {{ stage: "b" }} {LAYERS}')
    common = 'lr_policy: "fixed" base_lr: 0.1'
    return lambda text: SGDSolver(parse(f"{common} {text}", SolverParameter, "solver.prototxt"))


def states(net):
    known = ("train", "test", "level2", "stage_a", "stage_b")
    return [name for name in net._layer_names if name in known]


def test_one_net_serves_training_and_tests(make):
    solver = make('net: "one.prototxt" test_iter: [1, 1] test_interval: 5')
    assert states(solver.net) == ["train"]
    assert [states(net) for net in solver.test_nets] == [["test"], ["test"]]


def test_net_alone_has_no_test_net(make):
    assert make('net: "one.prototxt"').test_nets == []


def test_messages_come_before_files_before_the_generic_net(make):
    solver = make(
        'net: "one.prototxt" test_net: "two.prototxt" test_iter: [1, 1, 1] test_interval: 5 '
        f'test_net_param {{ name: "inside" {LAYERS} }}'
    )
    assert [net.name for net in solver.test_nets] == ["inside", "two", "one"]


def test_states_of_net_and_solver_are_merged(make):
    solver = make(
        'net: "staged.prototxt" train_state { level: 2 stage: "a" } test_iter: [1, 1] test_interval: 5 '
        'test_state { level: 3 } test_state { stage: "a" }'
    )
    assert states(solver.net) == ["train", "level2", "stage_a", "stage_b"]
    assert [states(net) for net in solver.test_nets] == [
        ["test", "level2", "stage_b"],
        ["test", "stage_a", "stage_b"],
    ]


def test_creation_is_logged_with_its_source(make, caplog):
    logging.getLogger("caffe").propagate = True
    with caplog.at_level(logging.INFO, logger="caffe"):
        make('train_net: "one.prototxt" test_net: "two.prototxt" test_iter: 1 test_interval: 5')
    lines = [record.getMessage() for record in caplog.records]
    assert "Creating training net from train_net file: one.prototxt" in lines
    assert "Creating test net (#0) specified by test_net file: two.prototxt" in lines
    assert lines[-1] == "Solver scaffolding done."


def test_weights_are_lists_whose_later_files_win(make):
    first, second = make('net: "one.prototxt"'), make('net: "one.prototxt"')
    first.net.save("first.caffemodel")
    second.net.save("second.caffemodel")
    solver = make(
        'net: "one.prototxt" weights: "first.caffemodel, second.caffemodel" test_iter: 1 test_interval: 5'
    )
    for net in (solver.net, *solver.test_nets):
        np.testing.assert_array_equal(net.params["ip"][0].data, second.net.params["ip"][0].data)


def test_random_seed_repeats_the_fillers(make):
    text = 'net: "one.prototxt" random_seed:'
    seven, again, eight = make(f"{text} 7"), make(f"{text} 7"), make(f"{text} 8")
    weights = [solver.net.params["ip"][0].data for solver in (seven, again, eight)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


INNER = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 4 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 %s } %s }
"""


def inner(filler="", loss=""):
    return f"net_param {{ {INNER % (filler, loss)} }} max_iter: 1 snapshot_after_train: false display: 1"


FILLER = 'weight_filler { type: "constant" value: 2 }'


def test_train_net_without_layers_is_refused(make):
    with pytest.raises(
        ConfigError, match=r"solver.prototxt:1:\d+: the train net \(net_param\) has no layers"
    ):
        make("net_param { }")


def test_train_net_without_a_loss_is_warned_of(make, caplog):
    make(inner(FILLER))
    assert "solver.prototxt:3:1: the train net has no loss: nothing is learned" in caplog.text
    caplog.clear()
    make(inner(FILLER, "loss_weight: 1"))
    assert "has no loss" not in caplog.text


def test_weights_without_a_filler_are_warned_of(make, caplog):
    make(inner("", "loss_weight: 1")).solve()
    assert "layer 'ip' (InnerProduct): weights are all zero" in caplog.text
    caplog.clear()
    make(inner(FILLER, "loss_weight: 1")).solve()
    assert "weights are all zero" not in caplog.text


def test_an_output_of_many_values_is_one_line_unless_asked(make, caplog, monkeypatch):
    solver = make(inner(FILLER))
    with caplog.at_level(logging.INFO, "caffe"):
        solver.solve()
        lines = [line for line in caplog.messages if "net output" in line]
        assert (
            lines == ["    Train net output #0: y: 12 values, min = 0, mean = 0, max = 0"] * len(lines) != []
        )
        monkeypatch.setenv("CAFFE_ALL_OUTPUTS", "1")
        caplog.clear()
        solver.step(1)
        lines = [line for line in caplog.messages if "net output" in line]
    assert lines == [f"    Train net output #{number}: y = 0" for number in range(12)]
