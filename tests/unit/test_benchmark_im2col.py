"""The reconstruction of Caffe's matrix layers must compute them, or its times mean nothing."""

from pathlib import Path

import numpy as np
import pytest
from helpers.oracle import MISSING

pytest.importorskip("torch", reason=MISSING)

import torch

from benchmarks.engine_im2col import Convolution, InnerProduct, MatrixLayers
from benchmarks.task import Task

LENET = Path(__file__).parents[2] / "models" / "lenet"
SETTINGS = [
    {"kernel": (3, 3), "pad": (1, 1), "stride": (1, 1), "dilation": (1, 1), "group": 1},
    {"kernel": (3, 5), "pad": (2, 1), "stride": (2, 3), "dilation": (1, 1), "group": 2},
    {"kernel": (3, 3), "pad": (2, 2), "stride": (1, 1), "dilation": (2, 2), "group": 4},
    {"kernel": (1, 1), "pad": (0, 0), "stride": (1, 1), "dilation": (1, 1), "group": 1},
    {"kernel": (1, 1), "pad": (0, 0), "stride": (2, 2), "dilation": (1, 1), "group": 1},
]


def check(layer, x, weights, bias, y):
    """Compare a layer after forward and backward with autograd's `y`."""
    y.backward(torch.from_numpy(layer.dy))
    pairs = [(layer.y, y.detach()), (layer.dx, x.grad), (layer.dw, weights.grad), (layer.db, bias.grad)]
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("how", SETTINGS)
def test_convolution_is_that_of_torch(how):
    random = np.random.default_rng(1)
    x, weights, bias = (
        torch.from_numpy(random.standard_normal(shape, dtype=np.float32)).requires_grad_()
        for shape in ((2, 8, 9, 11), (12, 8 // how["group"], *how["kernel"]), (12,))
    )
    y = torch.nn.functional.conv2d(x, weights, bias, how["stride"], how["pad"], how["dilation"], how["group"])
    arrays = [tensor.detach().numpy() for tensor in (x, weights, bias)]
    layer = Convolution(*arrays, list(y.shape), how)
    layer.dy = random.standard_normal(y.shape, dtype=np.float32)
    layer.forward()
    layer.backward(data=True)
    check(layer, x, weights, bias, y)


def test_inner_product_is_that_of_torch():
    random = np.random.default_rng(1)
    x, weights, bias = (
        torch.from_numpy(random.standard_normal(shape, dtype=np.float32)).requires_grad_()
        for shape in ((4, 6), (5, 6), (5,))
    )
    layer = InnerProduct(*(tensor.detach().numpy() for tensor in (x, weights, bias)))
    layer.dy = random.standard_normal(layer.y.shape, dtype=np.float32)
    layer.forward()
    layer.backward(data=True)
    check(layer, x, weights, bias, torch.nn.functional.linear(x, weights, bias))


def test_all_matrix_layers_of_a_net_run():
    engine = MatrixLayers(Task(str(LENET / "train_val.prototxt"), "train", 3))
    engine.step()
    assert [layer.y.shape[0] for layer, _ in engine.layers] == [3] * 4
    assert [data for _, data in engine.layers] == [False, True, True, True]
    assert all(np.abs(layer.dw).max() > 0 for layer, _ in engine.layers)
