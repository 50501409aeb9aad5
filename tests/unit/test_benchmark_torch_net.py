"""The PyTorch nets that benchmarks compare with must compute what ours do, or the numbers mean nothing."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.agreement import gradient_differences, losses_agree, outputs_agree
from benchmarks.flops import count_flops
from benchmarks.synthetic import make_graph
from benchmarks.task import Task

LENET = Path(__file__).parents[2] / "models" / "lenet"

RESIDUAL = """
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 1 dim: 3 dim: 14 dim: 14 } shape { dim: 1 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "norm" type: "LRN" bottom: "pool1" top: "norm" lrn_param { local_size: 3 alpha: 0.5 } }
layer { name: "conv2" type: "Convolution" bottom: "norm" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 group: 2 weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "conv2" }
layer { name: "scale2" type: "Scale" bottom: "conv2" top: "conv2" scale_param { bias_term: true } }
layer { name: "sum" type: "Eltwise" bottom: "norm" bottom: "conv2" top: "sum" }
layer { name: "relu2" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "mean" type: "Pooling" bottom: "sum" top: "mean"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "both" type: "Concat" bottom: "mean" bottom: "mean" top: "both" }
layer { name: "drop" type: "Dropout" bottom: "both" top: "both" }
layer { name: "ip" type: "InnerProduct" bottom: "both" top: "ip"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""
TRAIN = (
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" loss_weight: 0.5 }'
)
DEPLOY = """
layer { name: "unused" type: "Silence" bottom: "label" }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture
def residual_net(tmp_path):
    def write(end):
        path = tmp_path / "net.prototxt"
        path.write_text(RESIDUAL + end)
        return str(path)

    return write


def test_losses_of_lenet_agree_with_torch():
    agree, text = losses_agree(Task(str(LENET / "train_val.prototxt"), "train", 8))
    assert agree, text


def test_losses_of_a_residual_net_agree_with_torch(residual_net):
    task = Task(residual_net(TRAIN), "train", 8)
    agree, text = losses_agree(task)
    assert agree, f"{text}\n{gradient_differences(task)}"


def test_outputs_of_a_residual_net_agree_with_torch(residual_net):
    agree, text = outputs_agree(Task(residual_net(DEPLOY), "infer", 4, engine="eager"))
    assert agree, text


def test_disagreement_is_found(residual_net, monkeypatch):
    monkeypatch.setattr("benchmarks.engine_torch.MOMENTUM", 0.8)
    agree, text = losses_agree(Task(residual_net(TRAIN), "train", 8))
    assert not agree
    assert "gradients of the first step" in text


def test_flops_of_a_lenet_step():
    # conv1 20x24x24 of 25 terms, conv2 50x8x8 of 500, ip1 800x500, ip2 500x10; conv1 needs no data gradient
    conv1, rest = 20 * 24 * 24 * 25, 50 * 8 * 8 * 500 + 800 * 500 + 500 * 10
    assert count_flops(make_graph(Task(str(LENET / "train_val.prototxt"), "train", 64))) == 64 * 2 * (
        2 * conv1 + 3 * rest
    )
    assert count_flops(make_graph(Task(str(LENET / "deploy.prototxt"), "infer", 1))) == 2 * (conv1 + rest)
