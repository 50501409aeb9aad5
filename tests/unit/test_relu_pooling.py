"""Max pooling that masks the gradient for the ReLU below it: the same bits, one large map less to keep."""

import numpy as np
import pytest
from helpers.oracle import torch

from pycaffe_like.net import TRAIN
from pycaffe_like.plan.liveness import read_in_backward
from pycaffe_like.testing import net_from_text

LEAN = {"keep_data": False, "keep_diffs": False}
POOLINGS = {
    "tiles": {"kernel_size": 2, "stride": 2},
    "overlap": {"kernel_size": 3, "stride": 2},
    "padding": {"kernel_size": 3, "stride": 2, "pad": 1},
    "every place": {"kernel_size": 3, "stride": 1, "pad": 1},
    "gaps": {"kernel_size": 2, "stride": 3},
    "many places": {"kernel_size": 17, "stride": 4, "pad": 8},
}
RELU = 'layer { name: "relu" type: "ReLU" bottom: "map" top: "map" }'
CONV = """layer { name: "conv" type: "Convolution" bottom: "x" top: "map" convolution_param {
    num_output: 19 kernel_size: 3 pad: 1 weight_filler { type: "msra" } bias_filler { value: 0.1 } } }"""
CLIPPERS = {
    "Convolution": CONV,
    "Convolution to 24 channels": CONV.replace("19", "24"),
    "Eltwise": CONV.replace('"map"', '"conv"')
    + """layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "conv" top: "map"
               eltwise_param { coeff: 0.5 coeff: -2 } }""",
}


def pooling(**sizes):
    fields = " ".join(f"{key}: {value}" for key, value in sizes.items())
    return f'layer {{ name: "pool" type: "Pooling" bottom: "map" top: "pool" pooling_param {{ {fields} }} }}'


def build(*layers, force=True, **options):
    source = f"""force_backward: {str(force).lower()}
        layer {{ name: "x" type: "Input" top: "x"
                 input_param {{ shape {{ dim: 2 dim: 3 dim: 14 dim: 17 }} }} }}"""
    net = net_from_text("\n".join([source, *layers]), TRAIN, seed=3, **{**LEAN, **options})
    net.blobs["x"].data[...] = np.random.default_rng(1).standard_normal(net.blobs["x"].shape)
    return net


def run(net, top="pool"):
    """The top, and the gradients of input and weights."""
    net.forward()
    blob = net.blobs[top]
    net.clear_param_diffs()
    net.backward(**{top: np.random.default_rng(2).standard_normal(blob.shape)})
    params = [each.diff.copy() for each in net.params["conv"]]
    return [blob.data.copy(), net.blobs["x"].diff.copy(), *params]


def masking(net):
    """Steps that leave the mask to the pooling above them."""
    return [node.name for node in net.plan.graph.nodes if not node.arguments.get("relu_backward", True)]


def assert_same_bits(layers, top="pool", *, change=lambda net: None, **options):
    got, wanted = (build(*layers, **options, skip_passes=skipped) for skipped in ((), ("relu_pooling",)))
    assert masking(got)
    assert not masking(wanted)
    for net in (got, wanted):
        change(net)
    results = run(got, top), run(wanted, top)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    return results[0]


# Gradients


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("clipper", CLIPPERS)
@pytest.mark.parametrize("sizes", POOLINGS.values(), ids=POOLINGS)
def test_gradients_are_the_same_bits(sizes, clipper, precision):
    _, *gradients = assert_same_bits([CLIPPERS[clipper], RELU, pooling(**sizes)], precision=precision)
    assert all(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("sizes", POOLINGS.values(), ids=POOLINGS)
def test_gradients_are_those_of_pytorch(sizes):
    sizes = {"stride": 1, "pad": 0, **sizes}
    net = build(CONV, RELU, pooling(**sizes, round_mode="FLOOR"))
    assert masking(net) == ["conv+relu"]
    _, *gradients = run(net)
    x, weights, bias = (
        torch.tensor(blob.data.astype(np.float64), requires_grad=True)
        for blob in (net.blobs["x"], *net.params["conv"])
    )
    clipped = torch.relu(torch.conv2d(x, weights, bias, padding=1))
    y = torch.max_pool2d(clipped, sizes["kernel_size"], sizes["stride"], sizes["pad"])
    y.backward(torch.tensor(net.blobs["pool"].diff.astype(np.float64)))
    for got, wanted in zip(gradients, (x, weights, bias), strict=True):
        np.testing.assert_allclose(got, wanted.grad.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [-100.0, -1.5])
def test_windows_that_were_clipped_pass_no_gradient(bias):
    def shift(net):
        net.params["conv"][1].data[...] = bias

    top, *gradients = assert_same_bits([CONV, RELU, pooling(kernel_size=3, stride=2)], change=shift)
    clipped = top == 0
    assert clipped.all() if bias == -100 else 0.1 < clipped.mean() < 0.9
    assert all(gradient.any() != clipped.all() for gradient in gradients)


def test_nan_passes_no_gradient():
    def spoil(net):
        net.blobs["x"].data[0, 0, 3, 4] = np.nan
        net.blobs["x"].data[1, ...] = np.nan  # whole windows of it

    top, gradient, *_ = assert_same_bits([CONV, RELU, pooling(kernel_size=2, stride=2)], change=spoil)
    assert not gradient[1].any()
    assert np.isfinite(gradient).all()
    assert gradient[0].any()
    assert np.isfinite(top[0]).all()


@pytest.mark.parametrize(
    "above",
    [
        'type: "Scale" scale_param { filler { value: -1 } bias_term: true bias_filler { value: 2 } }',
        'type: "Dropout"',
        'type: "TanH"',
        'type: "ReLU"',
    ],
)
@pytest.mark.parametrize("flat", [False, True])
def test_what_is_done_in_place_to_the_maxima_does_not_matter(above, flat):
    layers = [CONV, RELU, pooling(kernel_size=2, stride=2)]
    layers += ['layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }'] if flat else []
    top = "flat" if flat else "pool"
    assert_same_bits([*layers, f'layer {{ name: "above" bottom: "{top}" top: "{top}" {above} }}'], top)


# Where it is done


MAX = pooling(kernel_size=2, stride=2)


def test_the_map_is_free_after_forward():
    lean = build(CONV, RELU, MAX)
    reads = {node.name: {value.name for value in read_in_backward(node)} for node in lean.plan.graph.nodes}
    assert "conv" not in reads["conv+relu"]
    assert reads["pool"] == set()
    more = 'layer { name: "above" type: "LRN" bottom: "pool" top: "above" lrn_param { local_size: 3 } }'
    layers = [CONV, RELU, MAX, more, more.replace("above", "next").replace('"pool"', '"above"')]
    bytes_of_map = 2 * 19 * 14 * 17 * 4
    with_mask = build(*layers, skip_passes=("relu_pooling",)).memory()
    assert build(*layers).memory().total <= with_mask.total - bytes_of_map // 2


@pytest.mark.parametrize("kept", ["keep_data", "keep_diffs"])
def test_kept_blobs_keep_the_mask_at_the_relu(kept):
    assert not masking(build(CONV, RELU, MAX, **{kept: True}))


@pytest.mark.parametrize("skipped", ["fusion", "relu_pooling"])
def test_without_the_pass_or_fusion_nothing_changes(skipped):
    assert not masking(build(CONV, RELU, MAX, skip_passes=(skipped,)))


@pytest.mark.parametrize(
    "layers",
    [
        [CONV, MAX],
        [CONV, RELU, MAX.replace("kernel", "pool: AVE kernel")],
        [CONV, RELU, MAX.replace("kernel", "pool: STOCHASTIC kernel")],
        [CONV, RELU, MAX.replace('top: "pool"', 'top: "pool" top: "places"')],
        [CONV, RELU, MAX, 'layer { name: "other" type: "TanH" bottom: "map" top: "other" }'],
        [CONV, RELU.replace("ReLU", "TanH"), MAX],
        [CONV, RELU.replace('"ReLU"', '"ReLU" relu_param { negative_slope: 0.1 }'), MAX],
        [CONV, RELU.replace('"ReLU"', '"ReLU" loss_weight: 2'), MAX],
    ],
    ids=["no ReLU", "AVE", "STOCHASTIC", "places", "two readers", "TanH", "slope", "loss"],
)
def test_other_layers_mask_for_themselves(layers):
    assert not masking(build(*layers))


def test_a_pooling_that_gives_no_gradient_masks_none():
    weighted = MAX.replace("type", "loss_weight: 1 type")
    assert masking(build(CONV, RELU, weighted, force=False))
    assert not masking(build(CONV, RELU, weighted.replace("type", "propagate_down: false type"), force=False))
