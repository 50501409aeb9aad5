"""Every pass of the planner can be left out, which changes nothing but rounding, bytes and time."""

import numpy as np
import pytest
from helpers.direct import assert_near

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.plan.chain import optional_passes
from pycaffe_like.testing import net_from_text


def source(*shape):
    dims = " ".join(f"dim: {dim}" for dim in shape)
    return f"""force_backward: true
        layer {{ name: "data" type: "Input" top: "data" top: "label"
                 input_param {{ shape {{ {dims} }} shape {{ dim: {shape[0]} }} }} }}"""


def layer(name, kind, bottom, top=None, fields=""):
    bottoms = " ".join(f'bottom: "{each}"' for each in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {fields} }}'


def conv(name, bottom, count, kernel, fields=""):
    return layer(
        name, "Convolution", bottom, fields=f'convolution_param {{ num_output: {count} kernel_size: {kernel} '
        f'weight_filler {{ type: "msra" }} bias_filler {{ value: 0.1 }} {fields} }}',
    )  # fmt: skip


def scores(name, bottom, count):
    filler = 'weight_filler { type: "xavier" }'
    return layer(
        name, "InnerProduct", bottom, fields=f"inner_product_param {{ num_output: {count} {filler} }}"
    )


def pooling(name, bottom, method="MAX", kernel=2, stride=2):
    fields = f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} }}"
    return layer(name, "Pooling", bottom, fields=fields)


LOSS = layer("loss", "SoftmaxWithLoss", "ip2 label", "loss")
SCALE = layer("scale1", "Scale", "conv1", "conv1", "scale_param { bias_term: true }")
NETS = {
    "lenet": [
        source(2, 1, 28, 28), conv("conv1", "data", 6, 5), pooling("pool1", "conv1"),
        conv("conv2", "pool1", 9, 5), pooling("pool2", "conv2"),
        scores("ip1", "pool2", 20), layer("relu", "ReLU", "ip1", "ip1"), scores("ip2", "ip1", 10), LOSS,
    ],
    "residual": [
        source(4, 3, 12, 10), conv("conv1", "data", 8, 3, "pad: 1 bias_term: false"),
        layer("bn1", "BatchNorm", "conv1", "conv1"), SCALE, layer("relu1", "ReLU", "conv1", "conv1"),
        conv("conv2", "conv1", 8, 3, "pad: 1 bias_term: false"), layer("bn2", "BatchNorm", "conv2"),
        layer("sum", "Eltwise", "conv1 bn2"), layer("relu2", "ReLU", "sum", "sum"),
        pooling("pool", "sum", "AVE", 3, 1), scores("ip2", "pool", 5), LOSS,
    ],
    "normalisation and dropout": [
        source(3, 3, 11, 13), conv("conv1", "data", 8, 3), layer("relu1", "ReLU", "conv1", "conv1"),
        layer("norm1", "LRN", "conv1", fields="lrn_param { alpha: 0.5 }"),
        pooling("pool1", "norm1", "MAX", 3, 2), layer("both", "Concat", "pool1 pool1"),
        scores("ip0", "both", 20), layer("drop0", "Dropout", "ip0"), scores("ip1", "drop0", 12),
        layer("relu2", "ReLU", "ip1", "ip1"), layer("drop1", "Dropout", "ip1", "ip1"),
        scores("ip2", "ip1", 6), LOSS,
    ],
}  # fmt: skip


NETS["maxima of clipped maps"] = [
    source(2, 3, 13, 12), conv("conv1", "data", 9, 3), layer("relu1", "ReLU", "conv1", "conv1"),
    pooling("pool1", "conv1", kernel=3), conv("conv2", "pool1", 6, 1, "bias_term: false"),
    layer("sum", "Eltwise", "conv2 conv2"), layer("relu2", "ReLU", "sum", "sum"), pooling("pool2", "sum"),
    scores("ip2", "pool2", 5), LOSS,
]  # fmt: skip
NETS["many tiles"] = [
    source(2, 16, 19, 18), conv("conv1", "data", 17, 3, "pad: 1"), layer("relu1", "ReLU", "conv1", "conv1"),
    conv("conv2", "conv1", 16, 3), scores("ip2", "conv2", 5), LOSS,
]  # fmt: skip


def build(name, phase=caffe.TRAIN, *, text=None, **options):
    net = net_from_text(text or "\n".join(NETS[name]), phase, seed=5, **options)
    rng = np.random.default_rng(1)
    net.blobs["data"].data[...] = rng.standard_normal(net.blobs["data"].shape)
    net.blobs["label"].data[...] = rng.integers(0, 5, net.blobs["label"].shape)
    return net


def results(net):
    """All visible blobs, and all gradients that training sees."""
    net.forward()
    found = {name: blob.data.copy() for name, blob in net.blobs.items()}
    net.clear_param_diffs()
    net.backward()
    found |= {f"{name}/{k}": b.diff.copy() for name, blobs in net.params.items() for k, b in enumerate(blobs)}
    return found | {"gradient of data": net.blobs["data"].diff.copy()}


@pytest.mark.parametrize("skipped", optional_passes())
@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("name", NETS)
def test_a_pass_that_is_left_out_changes_nothing_but_rounding(name, phase, skipped):
    wanted = results(build(name, phase, keep_diffs=False))
    got = results(build(name, phase, keep_diffs=False, skip_passes=(skipped,)))
    assert got.keys() == wanted.keys()
    for key, values in got.items():
        assert_near(values, wanted[key], terms=200)


@pytest.mark.parametrize("skipped", optional_passes())
@pytest.mark.parametrize("name", NETS)
def test_so_it_is_where_no_blobs_are_kept(name, skipped):
    lean = {"keep_data": False, "keep_diffs": False}
    nets = build(name, **lean), build(name, **lean, skip_passes=(skipped,))
    losses = [net.forward_loss() for net in nets]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for net in nets:
        net.clear_param_diffs()
        net.backward()
    gradients = [[param.blob.diff for param in net.graph.learnable] for net in nets]
    for one, other in zip(*gradients, strict=True):
        assert_near(one, other, terms=200)
    assert gradients[0][0].any()


@pytest.mark.parametrize("skipped", ["residual", "winograd", "fusion", "memory"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_residual_sum_is_added_by_the_convolution_where_data_is_not_kept(precision, skipped):
    text = "\n".join(
        [
            source(3, 16, 15, 14).replace('top: "label"', "").replace("shape { dim: 3 }", ""),
            conv("conv1", "data", 24, 3, "pad: 1"), layer("relu1", "ReLU", "conv1", "conv1"),
            conv("conv2", "conv1", 24, 3, "pad: 1 bias_term: false"),
            layer("bn2", "BatchNorm", "conv2", "conv2"),
            layer("sum1", "Eltwise", "conv1 conv2"), layer("relu2", "ReLU", "sum1", "sum1"),
            conv("conv3", "sum1", 24, 1), layer("sum2", "Eltwise", "conv3 sum1"), scores("ip2", "sum2", 5),
        ]
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((3, 16, 15, 14)).astype(np.float32)
    options = {"seed": 5, "precision": precision, "keep_data": False}
    net = net_from_text(text, caffe.TEST, **options)
    other = net_from_text(text, caffe.TEST, **options, skip_passes=(skipped,))
    steps = [node.name for node in net.plan.graph.nodes]
    assert {"conv2+bn2+sum1+relu2", "conv3+sum2"} <= set(steps)
    got, wanted = (each.forward(data=x)["ip2"].copy() for each in (net, other))
    assert_near(got, wanted, precision, terms=1000)
    with pytest.raises(ConfigError, match="not kept"):
        _ = net.blobs["conv2"].data


def test_layers_of_a_residual_sum_run_one_by_one_when_asked_to():
    text = "\n".join(
        [
            source(2, 3, 6, 6).replace('top: "label"', "").replace("shape { dim: 2 }", ""),
            conv("conv1", "data", 4, 1), conv("conv2", "conv1", 4, 1), layer("sum", "Eltwise", "conv1 conv2"),
        ]
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6))
    net = net_from_text(text, caffe.TEST, seed=5, keep_data=False)
    assert "conv2+sum" in [node.name for node in net.plan.graph.nodes]
    wanted = net.forward(data=x)["sum"].copy()
    seen = []
    net.after_forward(seen.append)
    assert_near(net.forward(data=x)["sum"], wanted, terms=12)
    assert len(seen) == len(net.graph.nodes)


@pytest.mark.parametrize(
    "change",
    [
        ("eltwise_param { coeff: 1 coeff: -1 }", "conv2 conv1"),
        ("eltwise_param { operation: MAX }", "conv2 conv1"),
        ("", "conv2 conv2"),
        ("", "conv1 conv2 conv1"),
    ],
)
def test_other_sums_stay_steps_of_their_own(change):
    fields, bottoms = change
    text = "\n".join(
        [
            source(2, 3, 6, 6).replace('top: "label"', "").replace("shape { dim: 2 }", ""),
            conv("conv1", "data", 4, 1), conv("conv2", "data", 4, 1),
            layer("sum", "Eltwise", bottoms, fields=fields),
        ]
    )  # fmt: skip
    net = net_from_text(text, caffe.TEST, keep_data=False)
    assert "sum" in [node.name for node in net.plan.graph.nodes]


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("name", NETS)
def test_without_the_layout_pass_every_blob_is_plain(name, phase):
    net = build(name, phase, skip_passes=("layout",))
    assert {blob.layout for blob in net.blobs.values()} == {"plain"}
    assert "channels_last" in {blob.layout for blob in build(name, phase).blobs.values()}


def test_plain_plans_surround_layers_that_compute_channels_last_only():
    net = build("lenet", skip_passes=("layout",))
    steps = [node.name for node in net.plan.graph.nodes if "reorder" in node.name]
    assert steps == [
        "pool1/reorder_conv1", "pool1/reorder_pool1", "pool2/reorder_conv2", "pool2/reorder_pool2"
    ]  # fmt: skip


def test_a_layer_between_reorders_runs_with_both():
    net = build("lenet", skip_passes=("layout",))
    net.forward()
    before = net.blobs["pool1"].data.copy()
    net.blobs["conv1"].data[...] += 1
    net.forward(start="pool1", end="pool1")
    np.testing.assert_allclose(net.blobs["pool1"].data, before + 1, rtol=1e-5)
    net.blobs["pool1"].diff[...] = 1
    net.backward(start="pool1", end="pool1")
    assert net.blobs["conv1"].diff.sum() == before.size


def test_a_loss_weight_moves_to_the_reorder_that_makes_the_visible_blob():
    weighted = pooling("pool", "data", "AVE").replace("pooling_param", "loss_weight: 3 pooling_param")
    for skipped in ((), ("layout",)):
        net = build(None, text=source(2, 3, 4, 4) + weighted, skip_passes=skipped)
        loss = net.forward_loss()
        assert loss == pytest.approx(3 * net.blobs["pool"].data.sum(), rel=1e-5)
        net.backward()
        assert np.all(net.blobs["data"].diff == 0.75)


def test_an_unknown_pass_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="there is no pass 'fuse' to skip") as caught:
        build("lenet", skip_passes=("fuse",))
    assert caught.value.hint == f"known passes: {', '.join(optional_passes())}"


# Dropout in nets that only test

TEST_ONLY = "\n".join(NETS["normalisation and dropout"][:-1]).replace("force_backward: true", "")


def test_dropout_that_only_tests_is_taken_out():
    net = build(None, caffe.TEST, text=TEST_ONLY)
    names = [node.name for node in net.plan.graph.nodes]
    assert "drop1" not in names
    assert net.blobs["drop0"].data_id == net.blobs["ip0"].data_id
    kept = build(None, caffe.TEST, text=TEST_ONLY, skip_passes=("dropout",))
    for one in (net, kept):
        one.forward()
    for name, blob in kept.blobs.items():
        np.testing.assert_array_equal(net.blobs[name].data, blob.data)
    assert net.blobs["drop0"].data.std() > 0.1


def test_a_layer_that_is_taken_out_can_still_be_named():
    net = build(None, caffe.TEST, text=TEST_ONLY)
    net.forward(end="drop1")
    np.testing.assert_array_equal(net.forward(start="drop1", end="drop1")["ip1"], net.blobs["ip1"].data)


def test_dropout_whose_top_is_overwritten_keeps_its_bottom():
    chain = source(2, 3, 4, 4).replace("force_backward: true", "") + layer("drop", "Dropout", "data")
    net = build(None, caffe.TEST, text=chain + layer("relu", "ReLU", "drop", "drop"))
    net.forward()
    assert net.blobs["data"].data.min() < 0
    assert net.blobs["drop"].data.min() == 0


def test_dropout_stays_where_gradients_flow():
    for phase in (caffe.TRAIN, caffe.TEST):
        assert "drop1" in [node.name for node in build("normalisation and dropout", phase).plan.graph.nodes]
