"""Arrays that are not kept take turns in memory without changing a bit of the result."""

import gc
import random

import numpy as np
import pytest
from helpers.training import train as run_steps

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.plan.arena import arena_bytes, pack
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
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
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
    """Train without the pass that, on a GPU, rounds sums of gradients otherwise where they are not kept."""
    net = net_from_text(RESIDUAL, TRAIN, seed=7, skip_passes=("gradient_sums",), **options)
    rng = np.random.default_rng(0)
    net.blobs["data"].data[...] = rng.standard_normal(net.blobs["data"].shape)
    net.blobs["label"].data[...] = rng.integers(0, 5, 4)
    return net, run_steps(net, steps, rate=0.05)


SHARING = [{"keep_diffs": False}, {"keep_data": False}, {"keep_data": False, "keep_diffs": False}]
NOTHING_KEPT = SHARING[-1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", SHARING, ids=str)
def test_arrays_that_take_turns_train_to_the_same_bits(precision, options):
    kept, losses = train(precision=precision)
    shared, same = train(precision=precision, **options)
    assert losses == same
    assert losses[-1] < losses[0]
    for name, blobs in kept.params.items():
        for one, other in zip(blobs, shared.params[name], strict=True):
            np.testing.assert_array_equal(one.data, other.data)


def test_arrays_that_take_turns_need_less_memory():
    kept = train(steps=1)[0].memory()
    diffs, data, both = (train(steps=1, **options)[0].memory() for options in SHARING)
    assert kept.arena == 0
    assert diffs.data == kept.data
    assert diffs.diffs + diffs.arena < kept.diffs / 2
    assert data.diffs == kept.diffs
    assert data.data + data.arena < kept.data
    assert both.total < diffs.total < kept.total
    assert both.arena < diffs.arena + data.arena  # gradients lie where data has died


@pytest.mark.parametrize("options", [{}, *SHARING], ids=str)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_measured_is_what_is_allocated(options, precision):
    gc.collect()
    before, _ = core.allocations()
    net, _ = train(steps=2, precision=precision, **options)
    gc.collect()
    allocated = core.allocations()[0] - before
    returned = net.blobs["data"].bytes  # the gradient of the data, which backward() hands out
    arrays = 4 * sum(len(node.tops) + len(node.params) for node in net.plan.graph.nodes)
    assert 0 <= allocated - returned - net.memory().total < 64 * arrays  # arrays are multiples of 64 bytes


@pytest.mark.parametrize("options", [{}, NOTHING_KEPT], ids=str)
def test_a_steady_iteration_asks_for_no_memory(options):
    net, _ = train(steps=2, **options)
    _, before = core.allocations()
    for _ in range(2):
        net.forward_loss()
        net.clear_param_diffs()
        net.backward()
    assert core.allocations()[1] == before


def test_what_is_not_kept_cannot_be_read():
    net, _ = train(steps=1, **NOTHING_KEPT)
    blob = net.blobs["conv1"]
    with pytest.raises(ConfigError, match="keep_data=True"):
        _ = blob.data
    for use in (lambda: blob.diff, blob.clear_diff, lambda: net.backward(diffs=["conv1"])):
        with pytest.raises(ConfigError, match="keep_diffs=True"):
            use()
    with pytest.raises(ConfigError, match="keep_data=True"):
        net.forward(blobs=["conv1"])


def test_inputs_outputs_and_losses_are_kept():
    net, losses = train(steps=1, **NOTHING_KEPT)
    assert net.blobs["loss"].data == pytest.approx(losses[0])
    assert net.blobs["loss"].diff == 1
    assert net.blobs["data"].data.std() > 0.5


@pytest.mark.parametrize("options", SHARING, ids=str)
def test_net_whose_arrays_take_turns_can_run_layer_by_layer(options):
    shared, _ = train(steps=2, **options)
    kept, _ = train(steps=2)
    for net in (shared, kept):
        net.iteration = 9
        net._forward(0, 3)
        net.forward(start="conv1")
        net.clear_param_diffs()
        net._backward(13, 5)
        net._backward(4, 0)
    for name, blobs in kept.params.items():
        np.testing.assert_array_equal(blobs[0].diff, shared.params[name][0].diff)


def test_batches_of_other_sizes_work():
    """Arrays that outgrow their place get memory of their own, smaller ones keep it."""
    shared, _ = train(steps=1, **NOTHING_KEPT)
    kept, _ = train(steps=1)
    for batch in (9, 2, 4):
        for net in (shared, kept):
            net.blobs["data"].reshape(batch, 3, 12, 12)
            net.blobs["label"].reshape(batch)
            net.blobs["data"].data[...] = np.linspace(-1, 1, net.blobs["data"].count).reshape(-1, 3, 12, 12)
            net.blobs["label"].data[...] = np.arange(batch) % 5
            net.iteration = batch
            net.forward_loss()
            net.clear_param_diffs()
            net.backward()
        np.testing.assert_array_equal(kept.blobs["loss"].data, shared.blobs["loss"].data)
        np.testing.assert_array_equal(kept.params["conv0"][0].diff, shared.params["conv0"][0].diff)


def test_maps_that_shrink_to_a_pixel_are_still_copied_to_their_place():
    """The plan counted on two arrays where the reorder of a larger map would need but one."""
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
        layer { name: "f" type: "Flatten" bottom: "a" top: "f" }
        layer { name: "b" type: "TanH" bottom: "f" top: "b" }
        layer { name: "c" type: "ReLU" bottom: "b" top: "c" }
        layer { name: "d" type: "Concat" bottom: "f" bottom: "c" top: "d" }"""
    net = net_from_text(text, TEST, keep_data=False)
    x = np.random.default_rng(0).standard_normal((2, 3, 1, 1)).astype(np.float32)
    net.blobs["x"].reshape(2, 3, 1, 1)
    top = np.maximum(x, 0).reshape(2, 3)
    wanted = np.concatenate([top, np.tanh(top)], axis=1)
    np.testing.assert_allclose(net.forward(x=x)["d"], wanted, rtol=1e-5)


# Nets that only test


def test_a_net_for_testing_runs_forward_only_in_little_memory():
    text = RESIDUAL.replace("force_backward: true", "")
    kept, lean = (net_from_text(text, TEST, seed=7, keep_data=keep) for keep in (True, False))
    rng = np.random.default_rng(0)
    for net in (kept, lean):
        for blobs in kept.params.values():
            for blob in blobs[:2]:
                blob.data[...] = np.abs(rng.standard_normal(blob.shape)) + 0.5
        lean.share_with(kept)
        net.blobs["data"].data[...] = np.linspace(-1, 1, net.blobs["data"].count).reshape(4, 3, 12, 12)
        net.blobs["label"].data[...] = [0, 1, 2, 3]
    np.testing.assert_allclose(lean.forward()["loss"], kept.forward()["loss"], rtol=1e-4)
    assert "conv0+bn0+relu0" in [node.name for node in lean.plan.graph.nodes]
    assert lean.memory().data + lean.memory().arena < kept.memory().data / 2
    assert lean.memory().total < kept.memory().total
    with pytest.raises(ConfigError, match="runs forward only"):
        lean.backward()


# Packing


@pytest.mark.parametrize("seed", range(20))
def test_packed_arrays_never_meet(seed):
    draw = random.Random(seed)
    sizes = [draw.choice([1, 64, 100, 640, 4096]) for _ in range(40)]
    spans = [[_span(draw, 0, 20), _span(draw, 21, 40)][: draw.choice([1, 2])] for _ in sizes]
    offsets = pack(sizes, spans)
    assert all(offset % 64 == 0 for offset in offsets)
    moments = [{moment for begin, end in each for moment in range(begin, end + 1)} for each in spans]
    for i in range(len(sizes)):
        for k in range(i):
            apart = offsets[i] + sizes[i] <= offsets[k] or offsets[k] + sizes[k] <= offsets[i]
            assert apart or not moments[i] & moments[k]
    busiest = max(sum(size for size, when in zip(sizes, moments) if moment in when) for moment in range(41))
    assert busiest <= arena_bytes(sizes, offsets) < sum(sizes)


def _span(draw, low, high):
    begin = draw.randint(low, high)
    return begin, draw.randint(begin, high)


def test_arrays_that_live_one_after_the_other_need_the_bytes_of_one():
    assert pack([128] * 5, [[(step, step)] for step in range(5)]) == [0] * 5
