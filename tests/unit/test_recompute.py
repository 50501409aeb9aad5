"""Data that is made again in backward: fewer bytes, the same bits, no state changed twice."""

import numpy as np
import pytest
from helpers.training import train as run_steps

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError
from pycaffe_like.net import TRAIN
from pycaffe_like.testing import net_from_text

CONV = 'kernel_size: 3 pad: 1 weight_filler { type: "msra" } bias_filler { value: 0.1 }'
NET = f"""
layer {{ name: "data" type: "Input" top: "data" top: "label"
         input_param {{ shape {{ dim: 8 dim: 3 dim: 16 dim: 12 }} shape {{ dim: 8 }} }} }}
layer {{ name: "conv0" type: "Convolution" bottom: "data" top: "conv0" convolution_param {{ num_output: 16 {CONV} }} }}
layer {{ name: "relu0" type: "ReLU" bottom: "conv0" top: "conv0" }}
layer {{ name: "pool0" type: "Pooling" bottom: "conv0" top: "pool0" pooling_param {{ kernel_size: 3 pad: 1 }} }}
layer {{ name: "norm0" type: "LRN" bottom: "pool0" top: "norm0" lrn_param {{ alpha: 0.5 }} }}
layer {{ name: "drop0" type: "Dropout" bottom: "norm0" top: "drop0" }}
layer {{ name: "conv1" type: "Convolution" bottom: "drop0" top: "conv1" convolution_param {{ num_output: 16 {CONV} }} }}
layer {{ name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }}
layer {{ name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param {{ bias_term: true }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2" convolution_param {{ num_output: 16 {CONV} }} }}
layer {{ name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2" }}
layer {{ name: "sum" type: "Eltwise" bottom: "conv1" bottom: "bn2" top: "sum" }}
layer {{ name: "relu2" type: "ReLU" bottom: "sum" top: "sum" }}
layer {{ name: "pool" type: "Pooling" bottom: "sum" top: "pool"
         pooling_param {{ pool: STOCHASTIC kernel_size: 2 stride: 2 }} }}
layer {{ name: "both" type: "Concat" bottom: "pool" bottom: "pool" top: "both" }}
layer {{ name: "tanh" type: "TanH" bottom: "both" top: "tanh" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "tanh" top: "ip"
         inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""  # noqa: E501
LEAN = {"keep_data": False, "keep_diffs": False}


def build(**options):
    net = net_from_text(NET, TRAIN, seed=11, **LEAN, **options)
    rng = np.random.default_rng(0)
    net.blobs["data"].data[...] = rng.standard_normal(net.blobs["data"].shape)
    net.blobs["label"].data[...] = rng.integers(0, 5, 8)
    return net


def train(net, steps=3):
    return run_steps(net, steps, rate=0.01)


def smallest(**options):
    """Bytes of the smallest plan there is, from the error that asks for the impossible."""
    with pytest.raises(ConfigError, match="does not fit into 1 bytes, it needs") as caught:
        build(max_memory=1, **options)
    return int(caught.value.problem.split()[-1].replace(",", ""))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("skip_passes", [(), ("fusion",), ("layout",)], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_data_made_again_trains_to_the_same_bits(share, skip_passes, precision):
    options = {"skip_passes": skip_passes, "precision": precision}
    free, least = build(**options), smallest(**options)
    limit = int(least + share * (free.memory().total - least))
    lean = build(max_memory=limit, **options)
    assert lean.memory().total <= limit < free.memory().total
    assert lean.recomputed()
    losses = train(free)
    assert train(lean) == losses
    assert losses[-1] < losses[0]
    for name, blobs in free.params.items():  # the running statistics of BatchNorm as well
        for one, other in zip(blobs, lean.params[name], strict=True):
            np.testing.assert_array_equal(one.data, other.data, err_msg=name)


def test_nothing_is_made_again_where_memory_is_enough():
    net = build()
    assert net.recomputed() == []
    assert build(max_memory=net.memory().total).recomputed() == []


def test_less_memory_makes_more_steps_run_again():
    free, least = build().memory().total, smallest()
    limits = [least + (free - least) * share // 10 for share in range(10, -1, -2)]
    counts = [len(build(max_memory=limit).recomputed()) for limit in limits]
    assert counts == sorted(counts)
    assert counts[-1] >= 4
    assert least < 0.85 * free


def test_cheap_steps_run_again_before_dear_ones():
    free, least = build().memory().total, smallest()
    assert "norm0" in build(max_memory=(free + least) // 2).recomputed()
    assert "conv2" not in build(max_memory=(free + least) // 2).recomputed()
    assert "conv2" in build(max_memory=least).recomputed()


def test_the_limit_counts_the_history_of_the_solver():
    params = sum(param.blob.bytes for param in build().graph.learnable)
    limit = build().memory().total + params
    assert build(max_memory=limit, history_sets=1).recomputed() == []
    assert build(max_memory=limit, history_sets=2).recomputed() != []


def test_layers_that_run_one_by_one_make_data_again_as_well():
    whole, parts = build(max_memory=smallest()), build(max_memory=smallest())
    for net in (whole, parts):
        net.forward_loss()
        net.clear_param_diffs()
    whole.backward()
    for node in reversed(parts.plan.graph.nodes):
        if node.members:
            layers = [parts._order[name] for name in node.members]
            parts._backward(max(layers), min(layers))
    for name, blobs in whole.params.items():
        np.testing.assert_array_equal(blobs[0].diff, parts.params[name][0].diff)


def test_a_steady_iteration_asks_for_no_memory():
    net = build(max_memory=smallest())
    train(net, steps=2)
    _, before = core.allocations()
    net.forward_loss()
    net.backward()
    assert core.allocations()[1] == before


@pytest.mark.parametrize("kept", ["keep_data", "keep_diffs"])
def test_a_limit_does_not_go_with_blobs_that_are_kept(kept):
    with pytest.raises(ConfigError, match="max_memory does not go with blobs that are kept") as caught:
        net_from_text(NET, TRAIN, max_memory=10**9, **{**LEAN, kept: True})
    assert "keep_data=False and keep_diffs=False" in caught.value.hint
