"""Nets on a GPU with layers whose tops' shapes are known only when they run, and what is around them."""

import numpy as np
import pytest

import caffe
from pycaffe_like.device import default_device
from pycaffe_like.prototxt.upgrade import read_solver
from pycaffe_like.solver.types import SGDSolver
from pycaffe_like.testing import net_from_text

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")

XAVIER = 'weight_filler { type: "xavier" }'
FILTERED = f"""
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param {{ num_output: 8 kernel_size: 3 {XAVIER} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "filter" type: "Filter" bottom: "conv" bottom: "label" bottom: "chosen"
  top: "some" top: "labels" }}
layer {{ name: "pool" type: "Pooling" bottom: "some" top: "pool"
  pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param {{ num_output: 5 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "labels" top: "loss"
  propagate_down: true propagate_down: false }}
"""
INPUTS = """
layer { name: "in" type: "Input" top: "x" top: "label" top: "chosen" input_param {
  shape { dim: 6 dim: 3 dim: 8 dim: 8 } shape { dim: 6 } shape { dim: 6 } } }
"""
RANDOM = """
layer { name: "in" type: "DummyData" top: "x" top: "label" top: "noise" dummy_data_param {
  shape { dim: 6 dim: 3 dim: 8 dim: 8 } shape { dim: 6 } shape { dim: 6 }
  data_filler { type: "gaussian" std: 1 } data_filler { value: 2 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "choose" type: "ReLU" bottom: "noise" top: "chosen" }
"""
DETECTOR = f"""
layer {{ name: "in" type: "Input" top: "x" top: "priors" input_param {{
  shape {{ dim: 2 dim: 3 dim: 10 dim: 10 }} shape {{ dim: 1 dim: 2 dim: 128 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param {{ num_output: 8 kernel_size: 3 stride: 3 pad: 1 {XAVIER} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "loc" type: "Convolution" bottom: "conv" top: "loc"
  convolution_param {{ num_output: 8 kernel_size: 1 {XAVIER} }} }}
layer {{ name: "flat_loc" type: "Flatten" bottom: "loc" top: "flat_loc" }}
layer {{ name: "conf" type: "Convolution" bottom: "conv" top: "conf"
  convolution_param {{ num_output: 6 kernel_size: 1 {XAVIER} }} }}
layer {{ name: "classes" type: "Reshape" bottom: "conf" top: "classes"
  reshape_param {{ shape {{ dim: 0 dim: -1 dim: 3 }} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "classes" top: "prob" softmax_param {{ axis: 2 }} }}
layer {{ name: "flat_prob" type: "Flatten" bottom: "prob" top: "flat_prob" }}
layer {{ name: "out" type: "DetectionOutput" bottom: "flat_loc" bottom: "flat_prob" bottom: "priors"
  top: "out" detection_output_param {{ num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.5
    nms_param {{ nms_threshold: 0.45 top_k: 20 }} keep_top_k: 12 }} }}
"""


def pair(text, phase, **options):
    """Build a net on the GPU and one on the CPU with the same weights."""
    return [net_from_text(text, phase, seed=1, device=device, **options) for device in ("cuda", "cpu")]


def assert_near(got, wanted):
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep_data", [True, False])
def test_filter_in_the_middle_of_a_net(keep_data):
    nets = pair(INPUTS + FILTERED, caffe.TRAIN, keep_data=keep_data)
    random = np.random.default_rng(0)
    label = random.integers(0, 5, 6)
    choices = [[1, 0, 1, 1, 0, 1]] * 4 + [[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
    for chosen in choices:
        x = random.standard_normal((6, 3, 8, 8))
        losses, gradients = [], []
        for net in nets:
            net.blobs["x"].data[...], net.blobs["label"].data[...], net.blobs["chosen"].data[...] = (
                x,
                label,
                chosen,
            )
            net.clear_param_diffs()
            losses.append(net.forward_loss())
            net.backward()
            gradients.append([blob.diff.copy() for blobs in net.params.values() for blob in blobs])
        assert_near(np.array(losses[0]), np.array(losses[1]))
        assert (losses[1] > 0) == any(chosen)
        for got, wanted in zip(*gradients):
            assert_near(got, wanted)
            assert np.any(wanted) == any(chosen)


def train(folder, net, device, settings=""):
    (folder / "net.prototxt").write_text(net)
    text = f'net: "{folder}/net.prototxt" base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
    (folder / "solver.prototxt").write_text(text + settings)
    solver = SGDSolver(read_solver(str(folder / "solver.prototxt")), device=device)
    try:
        solver.step(10)
    finally:
        solver.close()
    return solver, [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]


def test_training_with_another_number_of_items_every_time(tmp_path):
    """The GPU repeats what is before the filter and queues anew what is behind it."""
    got, wanted = (train(tmp_path, RANDOM + FILTERED, device)[1] for device in ("cuda", "cpu"))
    for mine, theirs in zip(got, wanted, strict=True):
        assert_near(mine, theirs)
    watched = train(tmp_path, RANDOM + FILTERED, "cuda", "display: 1")[1]
    for mine, theirs in zip(got, watched, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_steps_around_the_filter_are_recorded_while_shapes_stay(tmp_path):
    always_all = RANDOM.replace('"ReLU"', '"TanH"')
    solver, got = train(tmp_path, always_all + FILTERED, "cuda")
    assert [
        node.name for node in solver.net.plan.graph.nodes if node.device == "cpu" and node.name == "filter"
    ]
    assert solver._step.repeated
    for mine, theirs in zip(got, train(tmp_path, always_all + FILTERED, "cpu")[1], strict=True):
        assert_near(mine, theirs)


def test_detections_at_the_end_of_a_net():
    nets = pair(DETECTOR, caffe.TEST)
    random = np.random.default_rng(0)
    centres, sizes = random.uniform(0, 1, (32, 2)), random.uniform(0.1, 0.5, (32, 2))
    priors = np.stack([np.concatenate([centres - sizes / 2, centres + sizes / 2], 1), np.full((32, 4), 0.1)])
    rows = set()
    for scale in (1, 1, 1, 1, 3, 0):
        x = scale * random.standard_normal((2, 3, 10, 10))
        for net in nets:
            net.blobs["x"].data[...], net.blobs["priors"].data[...] = x, priors.reshape(1, 2, 128)
            net.forward()
        got, wanted = (net.blobs["out"].data for net in nets)
        assert_near(got, wanted)
        rows.add(got.shape[2])
    assert len(rows) > 2
    np.testing.assert_array_equal(
        nets[0].blobs["out"].data[0, 0, :, 1:], -1
    )  # no image has a score above 1/3
