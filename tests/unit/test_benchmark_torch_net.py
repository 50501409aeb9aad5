"""The PyTorch nets that benchmarks compare with must compute what ours do, or the numbers mean nothing."""

from pathlib import Path

import pytest
from helpers.oracle import MISSING
from helpers.residual_net import DEPLOY, RESIDUAL, TRAIN

pytest.importorskip("torch", reason=MISSING)

from benchmarks.agreement import gradient_differences, losses_agree, outputs_agree
from benchmarks.flops import count_flops
from benchmarks.synthetic import make_graph
from benchmarks.task import Task

LENET = Path(__file__).parents[2] / "models" / "lenet"


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
