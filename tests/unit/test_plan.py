"""What the passes make of a net: layouts, element types, the conversions between them, and bytes."""

import resource

import numpy as np
import pytest
from helpers.direct import assert_near

import caffe
from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import net_from_text

CONV = 'convolution_param { num_output: 5 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" } }'
IP = 'inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.1 } }'


def layer(name, kind, bottom, top=None, fields=""):
    bottoms = " ".join(f'bottom: "{each}"' for each in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {fields} }}'


def source(name, *shape):
    dims = " ".join(f"dim: {dim}" for dim in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'


X, LABEL = source("x", 2, 3, 4, 6), source("label", 2)
CLASSIFIER = [
    X, LABEL, layer("conv", "Convolution", "x", fields=CONV), layer("relu", "ReLU", "conv", "conv"),
    layer("pool", "Pooling", "conv", fields="pooling_param { kernel_size: 2 stride: 2 }"),
    layer("ip", "InnerProduct", "pool", fields=IP), layer("loss", "SoftmaxWithLoss", "ip label", "loss"),
]  # fmt: skip


def build(*layers, phase=caffe.TRAIN, force=False, **options):
    lines = ["force_backward: true"] if force else []
    net = net_from_text("\n".join([*lines, *layers]), phase, seed=2, **options)
    for index, name in enumerate(net.inputs):
        if name != "label":
            net.blobs[name].data[...] = np.random.default_rng(index).standard_normal(net.blobs[name].shape)
    return net


def names(net):
    return [node.name for node in net.plan.graph.nodes]


def reorders(net):
    return [node.name for node in net.plan.graph.nodes if node.definition.type == "Reorder"]


def layouts(net):
    return {name: blob.layout for name, blob in net.blobs.items()}


def dtypes(net):
    return {name: blob.dtype for name, blob in net.blobs.items()}


# Layouts


def test_maps_are_channels_last_and_reordered_where_a_layer_needs_them_plain():
    net = build(*CLASSIFIER)
    assert names(net) == ["x", "label", "conv+relu", "pool", "ip/reorder_pool", "ip", "loss"]
    assert {name for name, layout in layouts(net).items() if layout == "channels_last"} == {
        "x",
        "conv",
        "pool",
    }
    net.forward()
    weights, bias = (blob.data.astype(np.float64) for blob in net.params["ip"])
    pool = net.blobs["pool"].data.reshape(2, -1)
    assert_near(net.blobs["ip"].data, pool @ weights.T + bias, terms=30)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 3), "plain"),
        ((2, 3, 4), "plain"),
        ((2, 3, 4, 5), "channels_last"),
        ((2, 3, 4, 5, 2), "channels_last"),
        ((2, 3, 1, 2, 1, 2), "plain"),
    ],
)
def test_only_blobs_of_4_and_5_axes_are_channels_last(shape, layout):
    net = build(source("x", *shape), layer("relu", "ReLU", "x"))
    assert layouts(net) == {"x": layout, "relu": layout}
    assert not reorders(net)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 3, 4, 3, 2)])
@pytest.mark.parametrize("kind", ["InnerProduct", "Flatten", "Reshape"])
def test_layers_that_read_in_logical_order_get_a_reorder(kind, shape):
    fields = {"InnerProduct": IP, "Reshape": "reshape_param { shape { dim: 0 dim: -1 } }"}.get(kind, "")
    net = build(source("x", *shape), layer("reads", kind, "x", fields=fields))
    assert reorders(net) == ["reads/reorder_x"]


def test_layers_that_take_any_layout_pass_it_on():
    plain = layer("plain", "Reshape", "x", fields="reshape_param { shape { dim: 0 dim: 4 dim: 3 dim: 6 } }")
    net = build(X, plain, layer("relu", "ReLU", "plain"), layer("drop", "Dropout", "relu"))
    assert layouts(net) == {"x": "channels_last", "plain": "plain", "relu": "plain", "drop": "plain"}
    assert reorders(net) == ["plain/reorder_x"]


def test_bottoms_of_two_layouts_follow_the_first():
    plain = layer("plain", "Reshape", "y", fields="reshape_param { shape { dim: 2 dim: 3 dim: 4 dim: 6 } }")
    net = build(X, source("y", 2, 72), plain, layer("sum", "Eltwise", "x plain"))
    assert reorders(net) == ["sum/reorder_plain"]
    assert layouts(net)["sum"] == "channels_last"
    net.forward()
    assert np.array_equal(net.blobs["sum"].data, net.blobs["x"].data + net.blobs["plain"].data)


def test_a_convolution_along_another_axis_works_on_plain_blobs():
    other = 'convolution_param { axis: 2 num_output: 5 kernel_size: 3 weight_filler { type: "gaussian" } }'
    net = build(X, layer("conv", "Convolution", "x", fields=other))
    assert layouts(net)["conv"] == "plain"
    assert reorders(net) == ["conv/reorder_x"]


def test_labels_with_maps_of_their_own_are_plain():
    net = build(
        X, source("labels", 2, 1, 4, 6), layer("conv", "Convolution", "x", fields=CONV),
        layer("loss", "SoftmaxWithLoss", "conv labels", "loss"),
    )  # fmt: skip
    assert reorders(net) == ["loss/reorder_labels"]


def test_a_layer_in_place_on_a_reordered_blob_overwrites_the_copy():
    plain = layer("r", "Reshape", "x", fields="reshape_param { shape { dim: 2 dim: 4 dim: 3 dim: 6 } }")
    net = build(X, plain, layer("bn", "BatchNorm", "r", "r"), layer("relu", "ReLU", "r"), force=True)
    assert reorders(net) == ["r/reorder_x", "bn/reorder_r"]
    net.forward()
    x = net.blobs["x"].data.astype(np.float64).reshape(2, 4, 3, 6)
    wanted = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    assert_near(net.blobs["r"].data, wanted, terms=72)
    net.blobs["relu"].diff[...] = np.random.default_rng(5).standard_normal((2, 4, 3, 6))
    net.backward()
    dx = net.blobs["x"].diff.reshape(2, 4, 3, 6)
    assert np.abs(dx).max() > 0.1
    assert np.abs(dx.sum((0, 2, 3))).max() < 1e-4  # a shift of a channel changes nothing


def test_maps_of_one_pixel_are_reordered_without_a_copy():
    net = build(source("x", 2, 7, 1, 1), layer("ip", "InnerProduct", "x", fields=IP))
    [node] = [node for node in net.plan.graph.nodes if node.definition.type == "Reorder"]
    copy = net.plan.blob(node.tops[0])
    assert copy.data_id == net.blobs["x"].data_id
    assert copy.diff_id == net.blobs["x"].diff_id
    assert net.memory().data == 4 * (14 + 8)


def test_reorders_are_not_among_the_nets_blobs_and_layers():
    net = build(*CLASSIFIER)
    assert list(net.blobs) == ["x", "label", "conv", "pool", "ip", "loss"]
    assert net._layer_names == ["x", "label", "conv", "relu", "pool", "ip", "loss"]


def test_a_reorder_runs_with_the_layer_after_it():
    net = build(*CLASSIFIER, force=True)
    net.forward()
    before = net.blobs["ip"].data.copy()
    net.blobs["pool"].data[...] *= 2
    net.forward(start="ip", end="ip")
    bias = net.params["ip"][1].data
    assert_near(net.blobs["ip"].data - bias, 2 * (before - bias), terms=30)
    net.blobs["ip"].diff[...] = 1
    net.backward(start="ip", end="ip")
    weights = net.params["ip"][0].data.astype(np.float64).sum(0)
    assert_near(net.blobs["pool"].diff[0].ravel(), weights, terms=4)


# Element types


def test_float32_converts_nothing():
    assert set(dtypes(build(*CLASSIFIER)).values()) == {"float32"}


def test_matrix_layers_and_what_follows_are_bfloat16():
    net = build(*CLASSIFIER, precision="bfloat16")
    assert dtypes(net) == {
        "x": "float32", "label": "float32", "conv": "bfloat16", "pool": "bfloat16", "ip": "float32",
        "loss": "float32",
    }  # fmt: skip
    assert reorders(net) == ["conv+relu/reorder_x", "ip/reorder_pool"]
    assert {blob.dtype for blobs in net.params.values() for blob in blobs} == {"float32"}
    assert net.blobs["x"].diff.dtype == np.float32


def test_layers_before_the_first_matrix_stay_float32():
    net = build(
        X, layer("lrn", "LRN", "x"), layer("conv", "Convolution", "lrn", fields=CONV), precision="bfloat16"
    )
    assert dtypes(net) == {"x": "float32", "lrn": "float32", "conv": "bfloat16"}
    assert reorders(net) == ["conv/reorder_lrn"]


def test_bottoms_of_two_types_are_not_rounded():
    net = build(
        X, layer("conv", "Convolution", "x", fields=CONV), source("y", 2, 5, 4, 6),
        layer("sum", "Eltwise", "conv y"), precision="bfloat16",
    )  # fmt: skip
    assert dtypes(net)["sum"] == "float32"
    assert reorders(net) == ["conv/reorder_x", "sum/reorder_conv"]


def test_losses_and_accuracies_take_bfloat16_and_make_float32():
    net = build(*CLASSIFIER, layer("acc", "Accuracy", "ip label"), phase=caffe.TEST, precision="bfloat16")
    net.blobs["label"].data[...] = [1, 2]
    net.forward()
    assert dtypes(net)["loss"] == dtypes(net)["acc"] == "float32"
    assert [name for name in reorders(net) if name.startswith(("loss", "acc"))] == []
    scores = net.blobs["ip"].data.astype(np.float64)
    shifted = scores - scores.max(1, keepdims=True)
    wanted = -(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[[0, 1], [1, 2]].mean()
    assert_near(net.blobs["loss"].data, wanted, terms=4)


def test_type_and_layout_are_converted_on_the_way_to_a_plain_matrix():
    net = build(X, layer("ip", "InnerProduct", "x", fields=IP), precision="bfloat16")
    nodes = [node for node in net.plan.graph.nodes if node.definition.type == "Reorder"]
    last = nodes[-1].tops[0]
    assert (last.dtype, last.layout) == ("bfloat16", "plain")


def test_a_layer_in_place_on_a_float32_blob_keeps_its_name_in_bfloat16():
    """The ReLU before the matrix layer is float32 and in place, the one after it bfloat16."""
    net = build(
        X, layer("relu", "ReLU", "x", "x"), layer("conv", "Convolution", "x", fields=CONV),
        layer("relu2", "ReLU", "conv", "conv"), precision="bfloat16",
    )  # fmt: skip
    net.forward()
    assert dtypes(net) == {"x": "float32", "conv": "bfloat16"}
    assert net.blobs["x"].data.min() == net.blobs["conv"].data.min() == 0


def test_gradients_of_params_and_inputs_are_float32_in_a_bfloat16_plan():
    wide, narrow = (build(*CLASSIFIER, force=True, precision=each) for each in ("float32", "bfloat16"))
    for net in (wide, narrow):
        net.blobs["label"].data[...] = [1, 3]
        net.forward()
        net.backward()
    for name in ("conv", "ip"):
        for got, wanted in zip(narrow.params[name], wide.params[name]):
            assert got.diff.dtype == np.float32
            largest = np.abs(wanted.diff).max()
            assert largest > 0
            assert np.abs(got.diff - wanted.diff).max() < 2**-5 * largest
    assert (
        np.abs(narrow.blobs["x"].diff - wide.blobs["x"].diff).max()
        < 2**-5 * np.abs(wide.blobs["x"].diff).max()
    )


@pytest.mark.parametrize("precision", ["half", "float16", "", "FLOAT32"])
def test_an_unknown_precision_is_rejected(precision):
    with pytest.raises(ConfigError, match=f"precision must be float32 or bfloat16, got {precision!r}"):
        build(*CLASSIFIER, precision=precision)


# Bytes

# Elements of the classifier's blobs
X_COUNT, CONV_COUNT, POOL_COUNT, IP_COUNT = 2 * 3 * 4 * 6, 2 * 5 * 4 * 6, 2 * 5 * 2 * 3, 2 * 4
WEIGHTS = 5 * 3 * 9 + 5 + 4 * 30 + 4


def test_memory_counts_every_array_once():
    memory = build(*CLASSIFIER).memory()
    label, loss = 2, 1
    assert memory.data == 4 * (X_COUNT + label + CONV_COUNT + 2 * POOL_COUNT + IP_COUNT + loss)
    assert memory.diffs == 4 * (CONV_COUNT + 2 * POOL_COUNT + IP_COUNT + loss)
    assert memory.params == memory.param_diffs == 4 * WEIGHTS


def test_activations_of_a_bfloat16_plan_take_half():
    memory = build(*CLASSIFIER, precision="bfloat16").memory()
    label, loss = 2, 1
    # x and pool have converted copies: few rows of an InnerProduct that learns stay float32
    wide, narrow = POOL_COUNT + IP_COUNT, CONV_COUNT + POOL_COUNT
    assert memory.data == 4 * (X_COUNT + wide + label + loss) + 2 * (X_COUNT + narrow)
    assert memory.diffs == 4 * (wide + loss) + 2 * narrow
    assert memory.params == memory.param_diffs == 4 * WEIGHTS


def test_a_net_that_only_runs_forward_has_no_gradients():
    memory = build(X, *CLASSIFIER[2:4], phase=caffe.TEST).memory()
    assert memory.data == 4 * (X_COUNT + CONV_COUNT)
    assert (memory.diffs, memory.param_diffs) == (0, 0)
    assert memory.params == 4 * (5 * 3 * 9 + 5)


def test_layers_in_place_and_splits_share_data():
    inner = [
        layer("relu", "ReLU", "x", "x"),
        layer("a", "ReLU", "x"),
        layer("b", "ReLU", "x"),
    ]
    net = build(X, *inner, force=True)
    assert names(net) == ["x", "relu", "x_relu_0_split", "a", "b"]
    memory = net.memory()
    assert memory.data == 4 * 3 * X_COUNT  # x and its split, a, b
    assert memory.diffs == 4 * 5 * X_COUNT  # x, both tops of the split, a, b


def test_views_of_a_blob_share_data_and_diff():
    flat = layer("flat", "Flatten", "y")
    net = build(source("y", 2, 3, 4), flat, force=True)
    memory = net.memory()
    assert memory.data == memory.diffs == 4 * 24


def test_frozen_params_have_no_gradient():
    frozen = "param { lr_mult: 0 } param { lr_mult: 1 } " + IP
    net = build(X, LABEL, layer("ip", "InnerProduct", "x", fields=frozen), CLASSIFIER[-1])
    memory = net.memory()
    assert memory.params == 4 * (4 * 72 + 4)
    assert memory.param_diffs == 4 * 4


def test_params_that_layers_share_count_once():
    shared = 'param { name: "w" } param { name: "b" } ' + IP
    layers = [layer(name, "InnerProduct", "y", fields=shared) for name in ("one", "two")]
    net = build(source("y", 2, 9), *layers, force=True)
    assert net.memory().params == net.memory().param_diffs == 4 * (4 * 9 + 4)


def test_private_and_scratch_bytes_are_what_running_takes():
    net = build(X, *CLASSIFIER[2:4], phase=caffe.TEST, precision="bfloat16")
    memory, (before, _) = net.memory(), core.allocations()
    net.forward()
    blobs = 2 * (X_COUNT + CONV_COUNT)  # x is there already, its copy is not
    more = core.allocations()[0] - before - blobs - memory.private - memory.scratch
    assert 0 <= more < 5 * 64  # two blobs, scratch, and at most two arrays of the layer
    assert memory.private >= 2 * 5 * 3 * 9  # packed weights
    assert build(*CLASSIFIER).memory().scratch > 0


def test_the_total_is_the_sum():
    memory = build(*CLASSIFIER).memory()
    parts = [memory.data, memory.diffs, memory.params, memory.param_diffs, memory.private, memory.scratch]
    assert memory.total == sum(parts)
    assert all(parts)


def test_a_net_that_is_only_looked_at_takes_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chain = [layer(f"relu{k}", "ReLU", f"relu{k - 1}" if k else "x") for k in range(40)]
    net = net_from_text("\n".join([source("x", 256, 64, 128, 128), *chain]), caffe.TEST, fill=False)
    assert net.memory().data == 41 * 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_gradient_of_a_bfloat16_output_can_be_given():
    text = """force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 96 dim: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
                inner_product_param { num_output: 4 weight_filler { value: 0.5 } } }"""
    net = net_from_text(text, precision="bfloat16")
    net.forward(x=np.ones((96, 3)))
    assert net.blobs["ip"].dtype == "bfloat16"
    gradient = net.backward(ip=np.full((96, 4), 2.0))["x"]
    np.testing.assert_array_equal(gradient, np.full((96, 3), 4.0))


def test_shape_that_is_refused_is_refused_again():
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param { num_output: 1 kernel_size: 3 weight_filler { value: 1 } } }"""
    net = net_from_text(text)
    net.blobs["x"].reshape(1, 1, 2, 2)
    for _ in range(2):
        with pytest.raises(ShapeError, match="layer 'c'"):
            net.forward()
    net.blobs["x"].reshape(1, 1, 3, 4)
    assert net.forward(x=np.ones((1, 1, 3, 4)))["c"].ravel().tolist() == [9.0, 9.0]
