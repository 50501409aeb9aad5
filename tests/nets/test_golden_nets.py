"""Whole nets against what BVLC Caffe 1.0 built from the same text: graph, flags, numbers, rejections."""

import logging

import numpy as np
import pytest
from helpers.golden import GOLDEN, assert_within, net_states

import caffe
from pycaffe_like.errors import ConfigError

STATES = list(net_states())
BUILT = [state for state in STATES if "error" not in state.facts]
REJECTED = [state for state in STATES if "error" in state.facts]

# Caffe refuses these too, but there is nothing wrong with them; see the layer's docstring.
ACCEPTED_HERE = {"bad_softmax_loss_two_tops"}


def build(state):
    wanted = state.facts["state"]
    phase = caffe.TRAIN if wanted["phase"] == "TRAIN" else caffe.TEST
    return caffe.Net(str(state.path), phase, level=wanted["level"], stages=wanted["stages"])


@pytest.mark.parametrize("state", BUILT, ids=str)
def test_layers_and_connections_are_those_of_caffe(state):
    net = build(state)
    assert list(net._layer_names) == [layer["name"] for layer in state.facts["layers"]]
    for layer, view in zip(state.facts["layers"], net.layers):
        assert view.type == layer["type"]
        assert net.bottom_names[layer["name"]] == layer["bottoms"]
        assert net.top_names[layer["name"]] == layer["tops"]
    assert net.inputs == state.facts["inputs"]
    assert net.outputs == state.facts["outputs"]


@pytest.mark.parametrize("state", BUILT, ids=str)
def test_shapes_are_those_of_caffe(state):
    net = build(state)
    blobs = state.facts["blobs"]
    assert list(net.blobs) == [blob["name"] for blob in blobs]
    assert [list(blob.shape) for blob in net.blobs.values()] == [blob["shape"] for blob in blobs]
    for layer, view, node in zip(state.facts["layers"], net.layers, net.graph.nodes):
        assert [list(blob.shape) for blob in view.blobs] == layer["param_shapes"]
        assert [top.shape for top in node.tops] == layer["top_shapes"]


@pytest.mark.parametrize("state", BUILT, ids=str)
def test_loss_weights_and_backward_flags_are_those_of_caffe(state):
    net = build(state)
    for layer, node in zip(state.facts["layers"], net.graph.nodes):
        assert node.loss_weights == layer["top_loss_weights"], layer["name"]
        if "backward_bottoms" in layer:
            flags = dict(zip(layer["bottoms"], node.propagate_down))
            assert [name for name, flag in flags.items() if flag] == layer["backward_bottoms"], layer["name"]
            learned = [index for index, flag in enumerate(node.param_propagate_down) if flag]
            assert (learned if node.need_backward else []) == layer["backward_params"], layer["name"]


@pytest.mark.parametrize("state", BUILT, ids=str)
def test_log_says_which_layers_need_backward(state, caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        net = build(state)
    said = [line for line in caplog.messages if line.endswith("backward computation.")]
    flags = [(layer["name"], layer["need_backward"]) for layer in reversed(state.facts["layers"])]
    wanted = [f"{name} {'needs' if flag else 'does not need'} backward computation." for name, flag in flags]
    assert said == wanted
    if not state.forced:  # force_backward comes after the log
        assert [(node.name, node.need_backward) for node in reversed(net.graph.nodes)] == flags


@pytest.mark.parametrize("state", BUILT, ids=str)
def test_params_are_shared_as_in_caffe(state):
    net = build(state)
    shared = [param for param in net.graph.params if param.owner is not None]
    wanted = [(name, layer, int(index)) for name, layer, index in state.facts["shared_params"]]
    assert [(param.name, param.owner.layer, param.owner.index) for param in shared] == wanted


@pytest.mark.parametrize("state", [state for state in BUILT if state.numbers], ids=str)
def test_numbers_are_those_of_caffe(state):
    net = build(state)
    for name, values in state.group("param").items():
        layer, index = name.rsplit("/", 1)
        net.params[layer][int(index)].data[...] = values
    for name, values in state.group("input").items():
        net.blobs[name].data[...] = values
    net.clear_param_diffs()
    loss = net.forward_loss()
    assert_within(loss, state.numbers["loss"], 1e-4, 0, "loss")
    for name, wanted in state.group("data").items():
        assert_within(net.blobs[name].data, wanted, 1e-4, 1e-5, name)
    for name, values in state.group("outdiff").items():
        net.blobs[name].diff[...] = values
    net.backward()
    for name, wanted in state.group("inputdiff").items():
        assert_within(net.blobs[name].diff, wanted, 1e-4, 1e-5, f"diff of {name}")
    for name, wanted in state.group("paramdiff").items():
        layer, index = name.rsplit("/", 1)
        assert_within(net.params[layer][int(index)].diff, wanted, 1e-4, 1e-5, f"diff of {name}")
    for name, wanted in state.group("param_after").items():
        layer, index = name.rsplit("/", 1)
        assert_within(net.params[layer][int(index)].data, wanted, 1e-4, 1e-5, f"{name} after forward")


@pytest.mark.parametrize("state", [s for s in REJECTED if s.name not in ACCEPTED_HERE], ids=str)
def test_net_that_caffe_rejects_is_rejected_with_its_place(state):
    with pytest.raises(ConfigError) as caught:
        build(state)
    assert caught.value.file == str(state.path)
    assert caught.value.line
    assert caught.value.layer in state.path.read_text()
    assert str(caught.value).startswith(f"{state.path}:{caught.value.line}:")


@pytest.mark.parametrize("state", [s for s in REJECTED if s.name in ACCEPTED_HERE], ids=str)
def test_net_that_caffe_rejects_without_need_builds(state):
    build(state)


LENET = GOLDEN / "files" / "lenet"
TRAINED = LENET / "lenet_iter_200.caffemodel"


def lenet(weights, phase=caffe.TEST):
    return caffe.Net(str(LENET / "deploy.prototxt"), phase, weights=str(weights))


def assert_computes_the_recorded_blobs(net):
    recorded = dict(np.load(LENET / "io.npz"))
    net.forward(data=recorded["input"])
    for name, wanted in recorded.items():
        if name.startswith("blob/"):
            assert_within(net.blobs[name.removeprefix("blob/")].data, wanted, 0, 1e-4, name)


def test_lenet_trained_by_caffe_gives_the_recorded_outputs():
    assert_computes_the_recorded_blobs(lenet(TRAINED))


def test_saved_weights_of_a_training_net_serve_its_deploy_net(tmp_path, caplog):
    lenet(TRAINED, caffe.TRAIN).save(tmp_path / "saved.caffemodel")
    with caplog.at_level(logging.INFO, "caffe"):
        loaded = lenet(tmp_path / "saved.caffemodel")
    assert "Ignoring source layer" not in caplog.text
    assert_computes_the_recorded_blobs(loaded)


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        lenet(TRAINED).save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
