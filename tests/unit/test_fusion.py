"""Which neighbouring layers run as one step, and that nobody can tell from the results."""

import numpy as np
import pytest
from helpers.direct import assert_near

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.plan.make import make_plan
from pycaffe_like.plan.options import NetOptions
from pycaffe_like.testing import net_from_text

CONV = (
    'convolution_param { num_output: 5 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" std: 0.3 } '
    "bias_filler { value: 0.25 } }"
)
IP = 'inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.3 } }'
BN_TEST = "batch_norm_param { use_global_stats: true }"
SCALE = (
    'scale_param { bias_term: true filler { type: "uniform" min: 0.5 max: 2 } '
    'bias_filler { type: "uniform" min: -1 max: 1 } }'
)


def layer(name, kind, bottom, top=None, fields=""):
    bottoms = " ".join(f'bottom: "{each}"' for each in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {fields} }}'


def conv(fields="", bias=True):
    param = CONV if bias else CONV.replace("bias_filler { value: 0.25 }", "bias_term: false")
    return layer("conv", "Convolution", "x", fields=f"{fields} {param}")


def batch_norm(blob="conv", fields=""):
    return layer("bn", "BatchNorm", blob, blob, fields)


def scale(blob="conv", fields=SCALE):
    return layer("scale", "Scale", blob, blob, fields)


def relu(blob="conv", top=None, fields="", name="relu"):
    return layer(name, "ReLU", blob, top or blob, fields)


INPUT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 6 dim: 5 } } }
"""


def build(*layers, phase=caffe.TRAIN, force=True, seed=3, **options):
    lines = ["force_backward: true"] if force else []
    net = net_from_text("\n".join([*lines, INPUT, *layers]), phase, seed=seed, **options)
    net.blobs["x"].data[...] = np.random.default_rng(1).standard_normal(net.blobs["x"].data.shape)
    if "bn" in net.params:  # statistics that have been learned
        mean, variance, factor, *_ = net.params["bn"]
        mean.data[...] = np.random.default_rng(2).standard_normal(mean.shape)
        variance.data[...] = np.random.default_rng(3).uniform(0.5, 2, variance.shape)
        factor.data[...] = 1.5
    return net


def steps(net):
    return [node.name for node in net.plan.graph.nodes if node.definition.type not in ("Input", "Reorder")]


# Which chains are fused

FUSED = {
    "convolution, ReLU": ([conv(), relu()], ["conv+relu"]),
    "InnerProduct, ReLU": ([layer("ip", "InnerProduct", "x", fields=IP), relu("ip")], ["ip+relu"]),
    "Eltwise sum, ReLU": ([conv(), layer("sum", "Eltwise", "conv x2"), relu("sum")], ["conv", "sum+relu"]),
    "BatchNorm, Scale, ReLU": ([conv(bias=False), batch_norm(), scale(), relu()], ["conv", "bn+scale+relu"]),
    "BatchNorm, Scale": ([conv(bias=False), batch_norm(), scale()], ["conv", "bn+scale"]),
    "BatchNorm, ReLU": ([conv(bias=False), batch_norm(), relu()], ["conv", "bn+relu"]),
    "BatchNorm not in place": (
        [layer("bn", "BatchNorm", "x"), scale("bn"), relu("bn")],
        ["bn+scale+relu"],
    ),
    "only the first of two ReLUs": ([conv(), relu(), relu(name="again")], ["conv+relu", "again"]),
}


def with_second_input(layers):
    if not any("x2" in each for each in layers):
        return layers
    shape = "shape { dim: 3 dim: 5 dim: 6 dim: 5 }"
    return [f'layer {{ name: "x2" type: "Input" top: "x2" input_param {{ {shape} }} }}', *layers]


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("name", FUSED)
def test_chains_that_are_fused(name, phase):
    layers, wanted = FUSED[name]
    assert steps(build(*with_second_input(layers), phase=phase)) == wanted


FOLDED = {
    "all": ([conv(), batch_norm(), scale(), relu()], ["conv+bn+scale+relu"]),
    "no ReLU": ([conv(), batch_norm(), scale()], ["conv+bn+scale"]),
    "no Scale": ([conv(), batch_norm(), relu()], ["conv+bn+relu"]),
    "statistics alone": ([conv(), batch_norm()], ["conv+bn"]),
}


@pytest.mark.parametrize("name", FOLDED)
def test_statistics_are_folded_where_only_forward_runs(name):
    layers, wanted = FOLDED[name]
    assert steps(build(*layers, phase=caffe.TEST, force=False)) == wanted


def test_a_scale_alone_is_not_folded():
    net = build(conv(), scale(), relu(), phase=caffe.TEST, force=False)
    assert steps(net) == ["conv", "scale", "relu"]


# Which are not

PRODUCT = "eltwise_param { operation: PROD }"
NO_BIAS = "scale_param { bias_term: false }"
APART = {
    "a visible blob between": ([conv(), relu(top="out")], ["conv", "relu"]),
    "a slope": ([conv(), relu(fields="relu_param { negative_slope: 0.1 }")], ["conv", "relu"]),
    "a loss weight on a visible middle": (
        [conv(fields="loss_weight: 1"), relu(top="out")],
        ["conv", "conv_conv_0_split", "relu"],
    ),
    "a loss weight on the end": ([conv(), relu(fields="loss_weight: 1")], ["conv", "relu"]),
    "a product": (
        [conv(), layer("prod", "Eltwise", "conv x2", fields=PRODUCT), relu("prod")],
        ["conv", "prod", "relu"],
    ),
    "Scale without bias": ([conv(), batch_norm(), scale(fields=NO_BIAS)], ["conv", "bn", "scale"]),
    "Scale over other axes": (
        [conv(), batch_norm(), scale(fields="scale_param { bias_term: true axis: 0 }")],
        ["conv", "bn", "scale"],
    ),
    "Scale over two axes": (
        [conv(), batch_norm(), scale(fields="scale_param { bias_term: true num_axes: 2 }")],
        ["conv", "bn", "scale"],
    ),
    "Scale by a second bottom": (
        [conv(), batch_norm(), layer("scale", "Scale", "conv x2", "conv", "scale_param { axis: 0 }")],
        ["conv", "bn", "scale"],
    ),
    "Scale before BatchNorm": ([conv(), scale(), batch_norm()], ["conv", "scale", "bn"]),
    "BatchNorm with a scale of its own": (
        [conv(), batch_norm(fields="batch_norm_param { scale_bias: true }"), scale()],
        ["conv", "bn", "scale"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("name", APART)
def test_chains_that_stay_apart(name, phase):
    layers, wanted = APART[name]
    assert steps(build(*with_second_input(layers), phase=phase)) == wanted


def test_several_convolutions_in_one_layer_stay_apart():
    two = f'layer {{ name: "conv" type: "Convolution" bottom: "x" bottom: "x" top: "conv" top: "b" {CONV} }}'
    assert steps(build(two, relu())) == ["x_x_0_split", "conv", "relu"]


@pytest.mark.parametrize(
    "layers", [[conv(fields="loss_weight: 1"), relu()], [batch_norm("x", "loss_weight: 1"), scale("x")]]
)
def test_a_loss_on_a_blob_that_the_next_layer_overwrites_is_refused(layers):
    with pytest.raises(ConfigError, match="duplicate top"):
        build(*layers)


def test_a_blob_that_somebody_else_reads_is_not_overwritten():
    net = build(conv(), relu(top="out"), layer("flat", "Flatten", "conv"))
    assert "conv+relu" not in steps(net)


def test_batch_statistics_are_not_folded():
    batch = batch_norm(fields="batch_norm_param { use_global_stats: false }")
    net = build(conv(), batch, scale(), relu(), phase=caffe.TEST, force=False)
    assert steps(net) == ["conv", "bn+scale+relu"]


def test_statistics_are_not_folded_where_the_weights_learn():
    assert steps(build(conv(), batch_norm(), scale(), phase=caffe.TEST, force=True)) == ["conv", "bn+scale"]


def test_a_convolution_along_another_axis_is_not_folded():
    param = CONV.replace("kernel_size: 3", "kernel_size: 3 axis: 2").replace("pad: 1", "")
    other = layer("conv", "Convolution", "x", fields=param)
    net = build(other, batch_norm(), phase=caffe.TEST, force=False)
    assert steps(net) == ["conv", "bn"]


LOSS = [
    'layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 3 } } }',
    layer("flat", "Reshape", "conv", fields="reshape_param { shape { dim: 3 dim: -1 } }"),
    layer("loss", "SoftmaxWithLoss", "flat target", "loss"),
]


def test_layers_of_which_one_runs_backward_stay_apart():
    stops = relu(fields="propagate_down: false")
    assert steps(build(conv(), stops, *LOSS, force=False))[:2] == ["conv", "relu"]
    assert steps(build(conv(), relu(), *LOSS, force=False))[0] == "conv+relu"


def test_frozen_layers_are_fused_when_they_learn_nothing_at_all():
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    net = build(conv(fields=frozen), relu(), *LOSS, force=False)
    assert steps(net)[0] == "conv+relu"
    assert not net.plan.graph.nodes[1].need_backward


@pytest.mark.parametrize(("force", "copies"), [(True, 2), (False, 1)])
def test_a_fused_batch_norm_keeps_its_input_where_backward_reads_it(force, copies):
    batch = batch_norm(fields="batch_norm_param { use_global_stats: false }")
    net = build(conv(bias=False), batch, scale(), relu(), phase=caffe.TEST, force=force)
    assert net.memory().data == 4 * (180 + copies * 450)


# Nobody can tell

CHAINS = {name: layers for name, (layers, _) in FUSED.items()} | {
    "stored statistics": [conv(), batch_norm(fields=BN_TEST), scale(), relu()],
    "a block": [
        conv(bias=False), batch_norm(), scale(), relu(), layer("second", "Convolution", "conv", fields=CONV),
        layer("sum", "Eltwise", "second conv"), relu("sum", name="relu2"),
        layer("ip", "InnerProduct", "sum", fields=IP), relu("ip", name="relu3"),
    ],
}  # fmt: skip


def without_fusion(net):
    net._unfuse()
    return net


def run(net):
    """Values of all blobs after a forward, gradients of inputs and params after a backward."""
    for name in net.inputs[1:]:
        net.blobs[name].data[...] = np.random.default_rng(4).standard_normal(net.blobs[name].data.shape)
    net.forward()
    found = {name: blob.data.copy() for name, blob in net.blobs.items()}
    for index, name in enumerate(net.outputs):
        net.blobs[name].diff[...] = np.random.default_rng(index).standard_normal(found[name].shape)
    net.clear_param_diffs()
    net.backward()
    found |= {f"diff of {name}": net.blobs[name].diff.copy() for name in net.inputs}
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"{name}[{index}]"] = blob.data.copy()
            found[f"diff of {name}[{index}]"] = blob.diff.copy()
    return found


def assert_same(got, wanted):
    assert list(got) == list(wanted)
    for name, values in wanted.items():
        assert_near(got[name], values, terms=2000)
    assert all(values.any() for name, values in wanted.items() if name in ("x", "conv", "diff of x"))


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("name", CHAINS)
def test_fused_and_unfused_give_the_same_values_and_gradients(name, phase):
    layers = with_second_input(CHAINS[name])
    fused, apart = build(*layers, phase=phase), without_fusion(build(*layers, phase=phase))
    assert any("+" in step for step in steps(fused))
    assert not any("+" in step for step in steps(apart))
    assert_same(run(fused), run(apart))


@pytest.mark.parametrize("name", FOLDED)
def test_folded_and_unfolded_give_the_same_values(name):
    layers, _ = FOLDED[name]
    fused, apart = (build(*layers, phase=caffe.TEST, force=False) for _ in range(2))
    without_fusion(apart)
    fused.forward()
    apart.forward()
    assert list(fused.blobs) == list(apart.blobs)
    for name in apart.blobs:
        assert_near(fused.blobs[name].data, apart.blobs[name].data, terms=100)
    assert apart.blobs["conv"].data.any()


def test_every_blob_holds_what_caffe_would_show():
    net = build(*CHAINS["a block"])
    net.forward()
    value = {name: blob.data.astype(np.float64) for name, blob in net.blobs.items()}
    assert set(value) >= {"x", "conv", "second", "sum", "ip"}
    assert value["conv"].min() == 0, "the blob is what its last layer wrote"
    assert value["second"].min() < 0, "a convolution without ReLU keeps its values"
    assert_near(value["sum"], np.maximum(value["second"] + value["conv"], 0), terms=2)
    weights, bias = (blob.data.astype(np.float64) for blob in net.params["ip"])
    assert_near(value["ip"], np.maximum(value["sum"].reshape(3, -1) @ weights.T + bias, 0), terms=150)


# Parts of a net

BLOCK = CHAINS["BatchNorm, Scale, ReLU"]


def test_a_part_that_cuts_a_fused_step_runs_its_layers_alone():
    whole = without_fusion(build(*BLOCK, phase=caffe.TEST))
    whole.forward(end="bn")
    wanted = whole.blobs["conv"].data.copy()
    net = build(*BLOCK, phase=caffe.TEST)
    assert_near(net.forward(end="bn")["conv"], wanted, terms=20)
    assert steps(net) == ["conv", "bn", "scale", "relu"]
    whole.forward(start="scale")
    assert_near(net.forward(start="scale")["conv"], whole.blobs["conv"].data, terms=20)


def test_a_part_that_cuts_a_folded_step_runs_its_layers_alone():
    layers, _ = FOLDED["all"]
    net, whole = (build(*layers, phase=caffe.TEST, force=False) for _ in range(2))
    before = net.forward()["conv"].copy()
    got = net.forward(end="conv")["conv"].copy()
    assert steps(net) == ["conv", "bn", "scale", "relu"]
    assert_near(got, without_fusion(whole).forward(end="conv")["conv"], terms=20)
    assert np.abs(got - before).max() > 0.1
    assert_near(net.forward()["conv"], before, terms=100)


def test_a_part_between_fused_steps_leaves_them_fused():
    net = build(*BLOCK)
    net.forward(end="conv")
    net.forward(start="bn", end="relu")
    net.backward(start="relu", end="bn")
    assert steps(net) == ["conv", "bn+scale+relu"]


def test_a_part_backward_unfuses_too():
    net, apart = build(*BLOCK), without_fusion(build(*BLOCK))
    for each in (net, apart):
        each.forward()
    net.backward(start="conv")
    assert steps(net) == ["conv", "bn+scale+relu"]
    for each in (net, apart):
        each.forward(end="scale")  # in place, so the gradient at `scale` is asked for before the ReLU runs
        each.blobs["conv"].diff[...] = 1 + np.arange(450).reshape(3, 5, 6, 5) % 7
        each.clear_param_diffs()
        each.backward(start="scale")
    assert steps(net) == ["conv", "bn", "scale", "relu"]
    assert_near(net.blobs["x"].diff, apart.blobs["x"].diff, terms=2000)
    assert net.blobs["x"].diff.any()


def test_listening_in_shows_every_layer_with_its_own_result():
    seen, lowest = [], {}
    net = build(*BLOCK, phase=caffe.TEST)

    def look(index):
        name = net._layer_names[index]
        seen.append(name)
        lowest[name] = net.blobs["conv"].data.min()

    net.after_forward(look)
    net.forward()
    assert seen == ["x", "conv", "bn", "scale", "relu"]
    assert lowest["relu"] == 0
    assert lowest["scale"] < 0
    assert len({lowest["conv"], lowest["bn"], lowest["scale"]}) == 3


def test_views_and_inputs_survive_when_steps_are_taken_apart():
    net = build(*BLOCK, phase=caffe.TEST)
    view = net.blobs["x"].data
    before = net.forward()["conv"].copy()
    net.forward(end="bn")
    view *= 2
    assert np.array_equal(net.blobs["x"].data, view)
    after = net.forward()["conv"]
    assert_near(without_fusion(build(*BLOCK, phase=caffe.TEST)).forward()["conv"], before, terms=100)
    assert np.abs(after - before).max() > 0.1


def test_a_plan_without_fusion_can_be_asked_for():
    net = build(*BLOCK)
    plan = make_plan(net.graph, NetOptions(skip_passes=("fusion",)))
    assert not any("+" in node.name for node in plan.graph.nodes)
