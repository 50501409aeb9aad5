"""Gradients of intermediate blobs take turns in memory without changing a bit of the result."""

import numpy as np
import pytest

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError
from pycaffe_like.net import TRAIN
from pycaffe_like.testing import net_from_text

RESIDUAL = """
layer { name: "data" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 4 dim: 3 dim: 12 dim: 12 } shape { dim: 4 } } }
layer { name: "conv0" type: "Convolution" bottom: "data" top: "conv0"
        convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn0" type: "BatchNorm" bottom: "conv0" top: "conv0" }
layer { name: "relu0" type: "ReLU" bottom: "conv0" top: "conv0" }
layer { name: "conv1" type: "Convolution" bottom: "conv0" top: "conv1"
        convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { kernel_size: 3 stride: 1 pad: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "conv0" bottom: "pool1" top: "sum" }
layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "flat" type: "Flatten" bottom: "sum" top: "flat" }
layer { name: "drop" type: "Dropout" bottom: "flat" top: "drop" }
layer { name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def train(*, steps=4, **options):
    net = net_from_text(RESIDUAL, TRAIN, seed=7, **options)
    rng = np.random.default_rng(0)
    net.blobs["data"].data[...] = rng.standard_normal(net.blobs["data"].shape)
    net.blobs["label"].data[...] = rng.integers(0, 5, 4)
    params = [param.blob for param in net.graph.learnable]
    updater = core.Updater("SGD", params, [1.0] * len(params), [1.0] * len(params))
    losses = []
    for _ in range(steps):
        updater.clear_gradients()
        losses.append(net.forward_loss())
        net.backward()
        updater.update(
            rate=0.05, momentum=0.9, momentum2=0, rms_decay=0, delta=0, weight_decay=1e-3, l1=False,
            gradient_scale=1, iteration=0,
        )  # fmt: skip
    return net, losses


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pooled_gradients_train_to_the_same_bits(precision):
    kept, losses = train(precision=precision)
    pooled, same = train(precision=precision, keep_diffs=False)
    assert losses == same
    assert losses[-1] < losses[0]
    for name, blobs in kept.params.items():
        for one, other in zip(blobs, pooled.params[name], strict=True):
            np.testing.assert_array_equal(one.data, other.data)


def test_pooling_needs_less_memory():
    kept, pooled = (train(steps=1, keep_diffs=keep)[0].memory() for keep in (True, False))
    assert pooled.diffs < kept.diffs / 2
    assert pooled.data == kept.data


def test_gradient_that_is_not_kept_cannot_be_read():
    net, _ = train(steps=1, keep_diffs=False)
    with pytest.raises(ConfigError, match="keep_diffs=True"):
        _ = net.blobs["conv1"].diff
    assert net.blobs["loss"].diff == 1


def test_pooled_net_can_run_layer_by_layer():
    pooled, _ = train(steps=2, keep_diffs=False)
    kept, _ = train(steps=2)
    for net in (pooled, kept):
        net.iteration = 9
        net.forward(end="relu0")
        net.forward(start="conv1")
        net.clear_param_diffs()
        net.backward()
    for name, blobs in kept.params.items():
        np.testing.assert_array_equal(blobs[0].diff, pooled.params[name][0].diff)
