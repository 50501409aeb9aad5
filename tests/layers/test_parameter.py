import numpy as np
from helpers.layer_facts import EXACT, Example

from pycaffe_like.testing import TEST, net_from_text

EXAMPLE = Example("parameter_param { shape { dim: 2 dim: 3 } }", bottoms=())
BACKWARD = None
IMPOSSIBLE = [
    ("parameter_param { shape { dim: 65536 dim: 65536 } }", [], "65536"),
    ("parameter_param { shape { dim: -1 } }", [], "negative"),
]
TOLERANCE = EXACT

NET = """
layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }
layer { name: "a" type: "TanH" bottom: "w" top: "a" loss_weight: 1 }
layer { name: "b" type: "ReLU" bottom: "w" top: "b" loss_weight: 1 }
"""


def test_top_is_the_learned_blob():
    net = net_from_text(NET)
    [blob] = net.params["w"]
    np.testing.assert_array_equal(blob.data, 0)
    net.blobs["w"].data[...] = np.arange(24).reshape(2, 3, 2, 2) - 11.5
    np.testing.assert_array_equal(blob.data, net.blobs["w"].data)
    net.forward()
    np.testing.assert_array_equal(net.blobs["b"].data, np.maximum(blob.data, 0))
    blob.data[...] = 7
    net.forward()
    np.testing.assert_array_equal(net.blobs["b"].data, 7)


def test_gradients_of_all_readers_are_added_to_the_one_before():
    net = net_from_text(NET, TEST)
    [blob] = net.params["w"]
    blob.data[...] = 0.5
    net.forward()
    for times in (1, 2):
        net.backward()
        np.testing.assert_allclose(blob.diff, times * (2 - np.tanh(0.5) ** 2), rtol=1e-5)


def test_gradient_is_that_of_the_blob_where_backward_does_not_run():
    net = net_from_text(NET.split("layer", 2)[1].join(["layer", ""]))
    net.blobs["w"].diff[...] = 3
    net.backward()
    np.testing.assert_array_equal(net.params["w"][0].diff, 3)


def test_frozen_blob_gets_no_gradient():
    net = net_from_text(NET.replace('type: "Parameter"', 'type: "Parameter" param { lr_mult: 0 }'))
    net.forward()
    net.backward()
    np.testing.assert_array_equal(net.params["w"][0].diff, 0)
