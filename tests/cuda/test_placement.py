"""Layers of a net on a GPU that run on the CPU: the copies around them, and blobs that both sides use."""

import sys
import types

import numpy as np
import pytest

import caffe
from pycaffe_like.device import default_device
from pycaffe_like.testing import net_from_text

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")

PYTHON = 'type: "Python" python_param { module: "placed_layers" layer: "Triple" }'
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'


class Triple(caffe.Layer):
    def reshape(self, bottom, top):
        if top[0] is not bottom[0]:
            top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 3 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 3 * top[0].diff


@pytest.fixture(autouse=True)
def _module(monkeypatch):
    module = types.ModuleType("placed_layers")
    module.Triple = Triple
    monkeypatch.setitem(sys.modules, "placed_layers", module)


def layer(name, bottom, top, text):
    return f'layer {{ name: "{name}" bottom: "{bottom}" top: "{top}" {text} }}'


def net(*layers):
    return net_from_text("\n".join(["force_backward: true", INPUT, *layers]), caffe.TRAIN)


@pytest.mark.parametrize("middle", ["y", "z"], ids=["in place", "apart"])
def test_layer_on_the_cpu_between_layers_on_the_gpu(middle):
    chain = net(
        layer("before", "x", "y", 'type: "ReLU"'),
        layer("triple", "y", middle, PYTHON),
        layer("after", middle, "out", 'type: "TanH"'),
    )
    x = np.array([[0.1, -0.2, 0.025], [-0.1, 0.05, 0.2]], np.float32)
    diff = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    for sign in (1, -1):
        chain.blobs["x"].data[...] = sign * x
        chain.forward()
        wanted = np.tanh(3 * np.maximum(sign * x, 0))
        np.testing.assert_allclose(chain.blobs["out"].data, wanted, rtol=1e-5)
        chain.blobs["out"].diff[...] = diff
        chain.backward()
        slope = 3 * (sign * x > 0) * (1 - wanted**2)
        np.testing.assert_allclose(chain.blobs["x"].diff, diff * slope, rtol=1e-4, atol=1e-6)


def test_input_that_the_cpu_overwrites_is_one_blob():
    chain = net(layer("triple", "x", "x", PYTHON), layer("after", "x", "out", 'type: "ReLU"'))
    chain.blobs["x"].data[...] = 2
    chain.forward()
    assert np.array_equal(chain.blobs["x"].data, np.full((2, 3), 6))
    assert np.array_equal(chain.blobs["out"].data, np.full((2, 3), 6))
