"""Convolutions that add their gradient to that of a blob's other readers: the values of separate sums."""

import numpy as np
import pytest
from helpers.direct import assert_near
from helpers.oracle import torch
from helpers.training import train

import caffe
from pycaffe_like.device import default_device
from pycaffe_like.testing import net_from_text

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")

LEAN = {"keep_data": False, "keep_diffs": False}


def layer(kind, name, bottoms, top=None, fields=""):
    bottoms = " ".join(f'bottom: "{each}"' for each in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {fields} }}'


def conv(name, bottom, outputs=8, kernel=1, fields="", bias=True):
    param = f"num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} bias_term: {str(bias).lower()}"
    fillers = 'weight_filler { type: "msra" }' + (" bias_filler { value: 0.1 }" if bias else "")
    return layer("Convolution", name, bottom, fields=f"convolution_param {{ {param} {fillers} }} {fields}")


def relu(blob):
    return layer("ReLU", f"{blob}_relu", blob, blob)


def normalised(name, bottom):
    scale = layer("Scale", f"{name}_scale", name, name, "scale_param { bias_term: true }")
    return layer("BatchNorm", name, bottom) + scale


def pooling(name, bottom, fields="pool: MAX kernel_size: 3 stride: 1 pad: 1"):
    return layer("Pooling", name, bottom, fields=f"pooling_param {{ {fields} }}")


SOURCE = """force_backward: true
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 dim: 5 dim: 9 dim: 7 } } }"""
BEGIN = [SOURCE, conv("stem", "data", 8, 3), relu("stem")]
STEM = "stem_stem_relu_0_split"  # the Split of its readers
BLOCKS = {
    "identity": [
        *BEGIN, conv("a", "stem", 6), relu("a"), conv("b", "a", 8, 3), layer("Eltwise", "y", "stem b"),
        relu("y"),
    ],
    "identity after BatchNorm": [
        *BEGIN, conv("a", "stem", 8, 3, bias=False), normalised("b", "a"), layer("Eltwise", "y", "stem b"),
        relu("y"),
    ],
    "projection": [
        *BEGIN, conv("p", "stem"), conv("a", "stem", 6), relu("a"), conv("b", "a", 8, 3),
        layer("Eltwise", "y", "p b"), relu("y"),
    ],
    "inception": [
        *BEGIN, conv("one", "stem", 3), relu("one"), conv("three_reduce", "stem", 2), relu("three_reduce"),
        conv("three", "three_reduce", 4, 3), conv("five", "stem", 2, 5), pooling("pool", "stem"),
        conv("after", "pool", 3), layer("Concat", "y", "one three five after"),
    ],
    "a head of another kind": [
        *BEGIN, pooling("mean", "stem", "pool: AVE kernel_size: 3 stride: 1 pad: 1"), conv("one", "stem", 3),
        pooling("most", "stem"), conv("two", "stem", 5), layer("Concat", "y", "mean one most two"),
    ],
    "a view": [
        *BEGIN, conv("one", "stem", 3), layer("Flatten", "flat", "stem", fields="flatten_param { axis: 2 }"),
        layer("TanH", "bent", "flat"), conv("two", "stem", 2, 3), layer("Flatten", "f0", "bent"),
        layer("Flatten", "f1", "one"), layer("Flatten", "f2", "two"), layer("Concat", "y", "f0 f1 f2"),
    ],
}  # fmt: skip
# What adds to the gradient of the stem, and how many gradients the Split has still to add to it.
EXPECTED = {
    "identity": (["a"], 0),
    "identity after BatchNorm": (["a"], 0),
    "projection": (["p"], 0),
    "inception": (["one", "three_reduce", "five"], 0),
    "a head of another kind": (["one"], 2),
    "a view": (["one"], 1),
}


def build(layers, **options):
    net = net_from_text("\n".join(layers), caffe.TRAIN, seed=3, **{**LEAN, **options})
    net.blobs["data"].data[...] = np.random.default_rng(1).standard_normal(net.blobs["data"].shape)
    return net


def with_and_without(layers, **options):
    return build(layers, **options), build(layers, **options, skip_passes=("gradient_sums",))


def top_diff(net):
    return np.random.default_rng(2).standard_normal(net.blobs["y"].shape)


def gradients(net):
    """Those of the input and of all weights after forward and backward."""
    net.forward()
    net.clear_param_diffs()
    net.backward(y=top_diff(net))
    return made(net)


def made(net):
    found = {f"{p.layer}/{p.index}": p.blob.diff.copy() for p in net.graph.learnable if p.learned}
    return found | {"data": net.blobs["data"].diff.copy()}


def adding(net):
    """Layers that add their gradient to another's."""
    nodes = net.plan.graph.nodes
    return [node.members[0] for node in nodes if node.arguments.get("accumulates")]


def left_to_split(net):
    """How many gradients the Split of the stem adds to what its readers have summed up."""
    [node] = [node for node in net.plan.graph.nodes if node.arguments.get("shared_diffs")]
    return len(node.tops) - len(node.arguments["shared_diffs"])


def assert_all_near(got, wanted, precision="float32"):
    assert got.keys() == wanted.keys()
    for key, values in got.items():
        assert values.any(), key
        assert_near(values, wanted[key], precision, terms=500)


def assert_same_bits(got, wanted):
    for key, values in wanted.items():
        np.testing.assert_array_equal(got[key], values)


# Gradients


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_are_those_of_separate_sums(name, precision):
    adds, splits = with_and_without(BLOCKS[name], precision=precision)
    assert (adding(adds), left_to_split(adds)) == EXPECTED[name]
    assert not adding(splits)
    wanted = gradients(splits)
    for _ in range(2):  # the second time over what the first has left
        assert_all_near(gradients(adds), wanted, precision)


def in_torch(name, net):
    """Gradients of a block by PyTorch in float64."""
    leaves = {"data": torch.tensor(net.blobs["data"].data.astype(np.float64), requires_grad=True)}
    for param in net.graph.learnable:
        values = torch.tensor(param.blob.data.astype(np.float64), requires_grad=param.learned)
        leaves[f"{param.layer}/{param.index}"] = values

    def conv(name, x, pad=0):
        return torch.conv2d(x, leaves[f"{name}/0"], leaves.get(f"{name}/1"), padding=pad)

    def norm(name, x):
        scale, shift = (leaves[f"{name}_scale/{index}"] for index in (0, 1))
        return torch.nn.functional.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)

    stem = torch.relu(conv("stem", leaves["data"], 1))
    if name == "identity after BatchNorm":
        y = torch.relu(stem + norm("b", conv("a", stem, 1)))
    elif name == "projection":
        y = torch.relu(conv("p", stem) + conv("b", torch.relu(conv("a", stem)), 1))
    else:
        three = conv("three", torch.relu(conv("three_reduce", stem)), 1)
        pool = torch.max_pool2d(stem, 3, 1, 1)
        y = torch.cat([torch.relu(conv("one", stem)), three, conv("five", stem, 2), conv("after", pool)], 1)
    y.backward(torch.tensor(top_diff(net)))
    return {key: leaf.grad.numpy() for key, leaf in leaves.items() if leaf.requires_grad}


IN_TORCH = ["identity after BatchNorm", "projection", "inception"]


@pytest.mark.parametrize("name", IN_TORCH)
def test_gradients_are_those_of_pytorch(name):
    net = build(BLOCKS[name])
    assert_all_near(gradients(net), in_torch(name, net))


@pytest.mark.parametrize("name", IN_TORCH)
def test_bfloat16_is_as_near_to_pytorch_as_with_separate_sums(name):
    nets = with_and_without(BLOCKS[name], precision="bfloat16")
    wanted = in_torch(name, nets[0])["data"]
    adds, splits = (np.linalg.norm(gradients(net)["data"] - wanted) for net in nets)
    assert (
        adds <= 1.1 * splits <= np.linalg.norm(wanted) / 4
    )  # rounding moves some values across a ReLU's kink


def test_gradients_of_weights_add_up_over_several_passes():
    net = build(BLOCKS["inception"])
    once = gradients(net)
    net.forward()
    net.backward()  # as a solver with iter_size does
    for key, values in made(net).items():
        assert_near(values, once[key] * (1 if key == "data" else 2), terms=500)


@pytest.mark.parametrize("name", ["identity", "inception"])
def test_another_batch_size_is_summed_as_well(name):
    nets = with_and_without(BLOCKS[name])
    for net in nets:
        net.blobs["data"].reshape(7, 5, 6, 8)
        net.reshape()
        net.blobs["data"].data[...] = np.random.default_rng(4).standard_normal((7, 5, 6, 8))
    assert_all_near(*(gradients(net) for net in nets))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_net_with_listeners_sums_one_layer_after_the_other(name):
    net = build(BLOCKS[name])
    heard = []
    net.after_backward(heard.append)
    assert_all_near(gradients(net), gradients(build(BLOCKS[name])))
    assert adding(net) == EXPECTED[name][0]
    assert len(heard) == len(net.graph.nodes)


def test_data_that_is_made_again_gives_the_same_bits():
    net = build(BLOCKS["inception"])
    limit = net.memory().total - 3000
    tight = build(BLOCKS["inception"], max_memory=limit)
    assert tight.recomputed()
    assert tight.memory().total <= limit
    assert_same_bits(gradients(tight), gradients(net))


# Where it is done


def test_what_is_not_made_takes_no_memory():
    head = [*BLOCKS["inception"], pooling("mean", "y", "pool: AVE global_pooling: true")]
    adds, splits = with_and_without([text.replace("dim: 9 dim: 7", "dim: 19 dim: 17") for text in head])
    assert adds.memory().total <= splits.memory().total - adds.blobs["stem"].bytes // 2


def test_gradients_that_are_kept_are_made_apart():
    net = build(BLOCKS["projection"], keep_data=True, keep_diffs=True)
    assert not adding(net)
    gradients(net)
    tops = [net.blobs[f"{STEM}_{index}"].diff for index in (0, 1)]
    assert not np.array_equal(*tops)
    masked = np.add(*tops) * (net.blobs["stem"].data > 0)
    np.testing.assert_allclose(net.blobs["stem"].diff, masked, rtol=1e-6)


def test_gradients_are_summed_where_only_data_is_kept():
    adds, splits = with_and_without(BLOCKS["inception"], keep_data=True)
    assert adding(adds)
    assert_all_near(gradients(adds), gradients(splits))


def weighted(layers):
    """The same without force_backward, under a loss that is the sum of the top."""
    text = "\n".join(layers).replace("force_backward: true", "")
    return [text, layer("Reshape", "loss", "y", fields="reshape_param { shape { dim: -1 } } loss_weight: 1")]


def test_a_reader_that_gives_no_gradient_does_not_count():
    cut = conv("cut", "stem", 2, 3, "propagate_down: false")
    blocks = [conv("one", "stem", 3), cut, pooling("most", "stem"), layer("Concat", "y", "one cut most")]
    adds, splits = with_and_without(weighted([*BEGIN, *blocks]))
    assert (adding(adds), left_to_split(adds)) == (["one"], 1)
    wanted = trained(splits)
    assert_all_near(trained(adds), wanted)
    alone = [conv("one", "stem", 3), cut, layer("Concat", "y", "one cut")]
    assert not adding(build(weighted([*BEGIN, *alone])))


def trained(net):
    """Gradients of the weights after some steps of training."""
    train(net, 3, rate=1e-3)
    return {key: values for key, values in made(net).items() if key != "data"}


def test_a_loss_at_the_split_is_added():
    stem = layer("ReLU", "stem_relu", "stem", "stem", "loss_weight: 0.5")
    blocks = [stem, conv("one", "stem", 3), pooling("most", "stem"), layer("Concat", "y", "one most")]
    adds, splits = with_and_without(weighted([*BEGIN[:2], *blocks]))
    assert (adding(adds), left_to_split(adds)) == (["one"], 1)
    assert_all_near(trained(adds), trained(splits))


PAIR = conv("pair", "stem b").replace('top: "pair"', 'top: "u" top: "v"')


@pytest.mark.parametrize(
    "blocks",
    [
        [conv("one", "data"), conv("two", "data"), layer("Eltwise", "y", "one two")],
        [*BEGIN[1:], pooling("a", "stem"), normalised("b", "stem"), layer("Eltwise", "y", "a b")],
        [*BEGIN[1:], conv("one", "stem"), layer("Concat", "both", "stem one"), pooling("y", "both")],
        [*BEGIN[1:], layer("Split", "s", "stem", 's" top: "t'), conv("y", "t"), relu("s")],
        [*BEGIN[1:], pooling("b", "stem"), PAIR, pooling("c", "stem"), layer("Eltwise", "y", "u v c")],
    ],
    ids=["a blob that is shown", "no convolution", "Concat, which may be a view", "in place", "two bottoms"],
)
def test_other_readers_leave_the_sum_to_the_split(blocks):
    nets = with_and_without([SOURCE, *blocks])
    assert not adding(nets[0])
