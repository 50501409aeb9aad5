import gc
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.direct import DEVICE, assert_near, random_array, run
from helpers.layer_facts import SUMS, Example
from helpers.oracle import torch

import caffe
from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example(
    "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 dilation: 1 group: 1 "
    'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 max: 1 } }'
)
_FIELDS = """convolution_param { num_output: 3 kernel_size: 3 pad: 1
    weight_filler { type: "gaussian" } bias_filler { value: 0.1 } }"""
BACKWARD = {
    "alone": [("Convolution", _FIELDS)],
    "ReLU": [("Convolution", _FIELDS), ("ReLU", "")],
    "ReLU, Pooling MAX": [
        ("Convolution", _FIELDS), ("ReLU", ""),
        ("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"),
    ],
    "frozen": [("Convolution", "param { lr_mult: 0 } param { lr_mult: 0 } " + _FIELDS)],
}  # fmt: skip
IMPOSSIBLE = [
    ("convolution_param { num_output: 0 kernel_size: 1 }", [(1, 3, 5, 5)], "num_output"),
    ("convolution_param { num_output: 2 }", [(1, 3, 5, 5)], "kernel_size"),
    ("convolution_param { num_output: 2 kernel_size: 0 }", [(1, 3, 5, 5)], "kernel_size"),
    ("convolution_param { num_output: 2 kernel_size: 3 stride: 0 }", [(1, 3, 5, 5)], "stride"),
    ("convolution_param { num_output: 2 kernel_size: 6 }", [(1, 3, 5, 5)], "6"),
    ("convolution_param { num_output: 2 kernel_size: 3 dilation: 3 }", [(1, 3, 5, 5)], "kernel"),
    ("convolution_param { num_output: 3 kernel_size: 1 group: 2 }", [(1, 4, 5, 5)], "group"),
    ("convolution_param { num_output: 4 kernel_size: 1 group: 2 }", [(1, 3, 5, 5)], "group"),
    ("convolution_param { num_output: 4 kernel_size: 1 group: 0 }", [(1, 3, 5, 5)], "group"),
    ("convolution_param { num_output: 2147483647 kernel_size: 2 }", [(1, 2, 5, 5)], "2147483647"),
    ("convolution_param { num_output: 1 kernel_size: 1 pad: 32768 }", [(9, 1, 1, 1)], "65537"),
    ("convolution_param { num_output: 1 kernel_size: 1 axis: 9 }", [(1, 1, 5, 5)], "axis 9"),
    ("convolution_param { num_output: 1 kernel_size: 1 }", [(1, 1, 5, 5), (1, 2, 5, 5)], "top"),
]
_PLAIN = "num_output: 3 kernel_size: 1 weight_filler { value: 1 }"
FIELDS = {
    **dict.fromkeys(
        ("kernel_h", "kernel_w"),
        "convolution_param { num_output: 2 kernel_h: 2 kernel_w: 2 weight_filler { value: 1 } }",
    ),
    **{
        f"{size}_{axis}": f"convolution_param {{ {_PLAIN} {size}_h: {value} {size}_w: {value} }}"
        for size, value in (("stride", 1), ("pad", 0), ("dilation", 1))
        for axis in "hw"
    },
    "group": f"convolution_param {{ {_PLAIN} }}",
}
TOLERANCE = SUMS
SANITIZED = True

SHAPES = yaml.safe_load((Path(__file__).parents[1] / "shapes" / "convolution.yaml").read_text())
DTYPES = ["float32", "bfloat16"]
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="about the CPU's kernels")


class Case:
    """One convolution: the layer's arguments, shapes of its params, and the same in PyTorch."""

    def __init__(self, bottom, num_output=5, axis=1, group=1, bias_term=True, relu=False, **sizes):
        self.bottom, self.axis = tuple(bottom), axis % len(bottom)
        spatial = len(bottom) - self.axis - 1
        sizes = {"kernel": [3] * spatial, **sizes}
        for name, default in (("stride", 1), ("pad", 0), ("dilation", 1)):
            sizes.setdefault(name, [default] * spatial)
        self.arguments = {
            "num_output": num_output, "group": group, "bias_term": bias_term, "axis": axis, "relu": relu,
            "relu_backward": True, "winograd": True, "tf32": False, "addend": False, "accumulates": False,
            "batch_norm": False, "scale_bias": False, "eps": 0.0, **sizes,
        }  # fmt: skip
        self.weights = (num_output, bottom[self.axis] // group, *sizes["kernel"])

    @property
    def layout(self):
        """Layout the plan gives the blobs."""
        return "channels_last" if self.axis == 1 else "plain"

    @property
    def terms(self):
        """Most products that any of the results sums up."""
        outputs = self.arguments["num_output"] // self.arguments["group"]
        positions = np.prod(self.bottom) // self.bottom[self.axis]
        return int(max(np.prod(self.weights[1:]), outputs * np.prod(self.weights[2:]), positions))

    def params(self, dtype, draw=random_array):
        """Weights and bias; the weights are numbers that `dtype` can hold."""
        params = [draw(*self.weights, dtype=dtype, seed=2), draw(self.weights[0], seed=3)]
        return params[: 1 + self.arguments["bias_term"]]

    def in_torch(self, x, weights, bias):
        """The top, from tensors."""
        args = self.arguments
        items = x.shape[: self.axis]
        merged = x.reshape(-1, *x.shape[self.axis :])
        spatial = merged.dim() - 2
        sizes = {"stride": args["stride"], "padding": args["pad"], "dilation": args["dilation"]}
        if spatial == 0:
            merged, weights, sizes = merged[..., None], weights[..., None], {}
        convolve = getattr(torch.nn.functional, f"conv{max(spatial, 1)}d")
        y = convolve(merged, weights, bias, groups=args["group"], **sizes)
        y = y[..., 0] if spatial == 0 else y
        y = y.reshape(*items, *y.shape[1:])
        return torch.relu(y) if args["relu"] else y


def integers(*shape, dtype="float32", seed=0):
    """Small whole numbers: their products and sums are exact, so that zeros are zeros for everybody."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def case_of(name, **changes):
    case = Case(**{**SHAPES[name], **changes})
    if DEVICE != "cpu" and (case.axis != 1 or len(case.bottom) not in (4, 5)):
        pytest.skip("a net on a GPU keeps convolutions of anything but maps on the CPU")
    return case


def tensor(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def check_against_torch(case, dtype, bottoms=1, draw=random_array):
    """Compare tops and all gradients; the params' gradients hold something before."""
    arrays = [draw(*case.bottom, dtype=dtype, seed=seed) for seed in range(10, 10 + bottoms)]
    params = case.params(dtype, draw)
    xs, (weights, *bias) = [tensor(array) for array in arrays], [tensor(each) for each in params]
    ys = [case.in_torch(x, weights, *(bias or [None])) for x in xs]
    diffs = [draw(*y.shape, dtype=dtype, seed=20 + index) for index, y in enumerate(ys)]
    for y, diff in zip(ys, diffs):
        y.backward(torch.tensor(diff, dtype=torch.float64))
    result = run(
        "Convolution", case.arguments, *arrays, params=params, param_diffs=[0.5, -2.0], top_diffs=diffs,
        layout=case.layout, dtype=dtype,
    )  # fmt: skip
    for got, y in zip(result.tops, ys):
        assert_near(got, y.detach().numpy(), dtype, case.terms)
    for got, x in zip(result.bottom_diffs, xs):
        assert_near(got, x.grad.numpy(), dtype, case.terms)
    # The GPU's library makes the gradient of the weights in the type of the arrays.
    types = ["float32" if DEVICE == "cpu" else dtype, "float32"]
    for got, param, before, kind in zip(result.param_diffs, [weights, *bias], [0.5, -2.0], types):
        assert_near(got - before, param.grad.numpy(), kind, 4 * bottoms * case.terms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients_are_pytorchs(name, dtype):
    check_against_torch(case_of(name), dtype)


def bits_of(case):
    """Top and gradients of a run."""
    x, params, diff = inputs_of(case)
    result = run(
        "Convolution", case.arguments, x, params=params, param_diffs=[0.5, -2.0], top_diffs=[diff],
        layout=case.layout,
    )  # fmt: skip
    return [*result.tops, *result.bottom_diffs, *result.param_diffs]


@on_cpu
@pytest.mark.parametrize("name", ["tiles_3", "tiles_3_groups", "tiles_5"])
def test_winograd_computes_other_bits_than_the_direct_sum_and_the_same_ones_again(name):
    case, direct = case_of(name), case_of(name)
    direct.arguments["winograd"] = False
    first, again, summed = bits_of(case), bits_of(case), bits_of(direct)
    assert all(np.array_equal(one, other) for one, other in zip(first, again))
    assert not np.array_equal(first[0], summed[0])
    for one, other in zip(first, summed):
        assert_near(one, other, "float32", 4 * case.terms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", ["square", "groups_odd", "depthwise", "sequence", "no_spatial_axes", "axis_2", "tiles_3_groups"]
)
def test_without_a_bias(name, dtype):
    check_against_torch(case_of(name, bias_term=False), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias_term", [True, False])
@pytest.mark.parametrize(
    "name",
    ["square", "groups_2", "depthwise", "volume", "sequence", "no_spatial_axes", "channels_127_to_129"],
)
def test_a_fused_relu_clips_values_and_gradients(name, bias_term, dtype):
    check_against_torch(case_of(name, bias_term=bias_term, relu=True), dtype, draw=integers)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", ["square", "depthwise", "axis_0"])
def test_several_bottoms_share_the_weights(name, relu, dtype):
    check_against_torch(case_of(name, relu=relu), dtype, bottoms=3, draw=integers)


@pytest.mark.skipif(DEVICE == "cpu", reason="the CPU has no TF32")
def test_rounded_factors_change_no_more_than_their_last_bits():
    case = case_of("tiles_3_many")
    x, params, diff = inputs_of(case)
    options = {"params": params, "top_diffs": [diff], "layout": case.layout}
    exact = run("Convolution", case.arguments, x, **options)
    rounded = run("Convolution", {**case.arguments, "tf32": True}, x, **options)
    for got, wanted in zip([rounded.tops[0], *rounded.param_diffs], [exact.tops[0], *exact.param_diffs]):
        assert_near(got, wanted, "bfloat16")


@pytest.mark.skipif(DEVICE == "cpu", reason="the CPU's plain kernels take them")
def test_plain_maps_are_refused():
    case = case_of("square")
    x = random_array(*case.bottom)
    with pytest.raises(ShapeError, match=r"convolves channels-last maps .* got a bottom of shape"):
        run("Convolution", case.arguments, x, params=case.params("float32"), layout="plain")


def test_an_axis_counted_from_the_back_is_the_same():
    x = random_array(2, 3, 6, 5)
    param = "num_output: 4 kernel_size: 3 bias_filler { value: 2 }"
    front, back = (layer_net(conv(f"{param} axis: {axis}"), x, seed=3) for axis in (1, -3))
    assert_near(back.forward()["t0"], front.forward()["t0"], terms=27)


# Gradients: which are made, and that they add up


def inputs_of(case, dtype="float32"):
    x = random_array(*case.bottom, dtype=dtype)
    params = case.params(dtype)
    top = run("Convolution", case.arguments, x, params=params, layout=case.layout, dtype=dtype).tops[0]
    return x, params, random_array(*top.shape, dtype=dtype, seed=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["square", "depthwise", "groups_of_64", "sequence", "tiles_3", "tiles_5"])
def test_gradients_of_params_are_added_to_what_is_there(name, dtype):
    case = case_of(name)
    x, params, diff = inputs_of(case, dtype)
    options = {"params": params, "top_diffs": [diff], "layout": case.layout, "dtype": dtype}
    clean = run("Convolution", case.arguments, x, **options)
    dirty = run("Convolution", case.arguments, x, **options, param_diffs=[0.5, -2.0])
    assert np.array_equal(dirty.param_diffs[0], clean.param_diffs[0] + np.float32(0.5))
    assert np.array_equal(dirty.param_diffs[1], clean.param_diffs[1] + np.float32(-2))


@pytest.mark.skipif(DEVICE == "cpu", reason="the GPU's plans ask for it")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SHAPES)
def test_the_data_gradient_is_added_where_that_is_asked_for(name, dtype):
    case = case_of(name)
    x, params, diff = inputs_of(case, dtype)
    before = random_array(*x.shape, dtype=dtype, seed=4)
    bottom, weights = tensor(x), tensor(params[0])
    case.in_torch(bottom, weights, None if len(params) == 1 else tensor(params[1])).backward(tensor(diff))
    adding = {**case.arguments, "accumulates": True}
    result = run(
        "Convolution", adding, x, params=params, top_diffs=[diff], bottom_diffs=[before], layout=case.layout,
        dtype=dtype,
    )  # fmt: skip
    assert_near(result.bottom_diffs[0], before + bottom.grad.numpy(), dtype, case.terms)


def test_cleared_gradients_start_again_and_others_go_on():
    net = layer_net(conv("num_output: 20 kernel_size: 3"), random_array(2, 16, 5, 5))
    net.forward()
    net.blobs["t0"].diff[...] = random_array(2, 20, 3, 3, seed=1)
    made = []
    for _ in range(2):
        net.clear_param_diffs()
        for _ in range(2):
            net.backward()
            made.append([blob.diff.copy() for blob in net.params["layer"]])
    for once, twice, again, twice_again in zip(*made):
        assert once.any()
        assert_near(twice, 2 * once)
        assert np.array_equal(again, once)
        assert np.array_equal(twice_again, twice)


@pytest.mark.parametrize("learn", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("name", ["square", "depthwise", "tiles_3"])
def test_only_params_that_learn_get_a_gradient(name, learn):
    case = case_of(name)
    x, params, diff = inputs_of(case)
    options = {"params": params, "top_diffs": [diff], "layout": case.layout}
    every = run("Convolution", case.arguments, x, **options)
    some = run("Convolution", case.arguments, x, **options, learn=learn)
    for got, wanted, learns in zip(some.param_diffs, every.param_diffs, learn):
        assert np.array_equal(got, wanted if learns else np.zeros_like(wanted))
    assert np.array_equal(some.bottom_diffs[0], every.bottom_diffs[0])


@pytest.mark.parametrize("precision", DTYPES)
def test_a_gradient_that_is_not_wanted_is_not_written(precision):
    net = layer_net(
        conv("num_output: 2 kernel_size: 3", "loss_weight: 1"), random_array(1, 2, 4, 4), backward=False,
        precision=precision,
    )  # fmt: skip
    net.forward()
    net.blobs["b0"].diff[...] = 7
    net.backward()
    assert np.array_equal(net.blobs["b0"].diff, np.full((1, 2, 4, 4), 7))
    assert net.params["layer"][0].diff.any()


def test_with_several_bottoms_only_wanted_gradients_are_written():
    case = case_of("square")
    x, params, diff = inputs_of(case)
    other = random_array(*case.bottom, seed=5)
    options = {"params": params, "top_diffs": [diff, diff], "layout": case.layout}
    both = run("Convolution", case.arguments, x, other, **options)
    one = run("Convolution", case.arguments, x, other, **options, propagate_down=[False, True])
    assert one.bottom_diffs[0] is None
    assert np.array_equal(one.bottom_diffs[1], both.bottom_diffs[1])
    assert np.array_equal(one.param_diffs[0], both.param_diffs[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_input_gives_the_same_bits(dtype):
    case = case_of("channels_127_to_129")
    x, params, diff = inputs_of(case, dtype)
    options = {"params": params, "top_diffs": [diff], "layout": case.layout, "dtype": dtype}
    once, again = (run("Convolution", case.arguments, x, **options) for _ in range(2))
    for first, second in zip(
        [*once.tops, *once.bottom_diffs, *once.param_diffs],
        [*again.tops, *again.bottom_diffs, *again.param_diffs],
    ):
        assert first.tobytes() == second.tobytes()


@on_cpu
@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("param", ["kernel_size: 3 pad: 1", "kernel_size: 1", "kernel_size: 3 group: 64"])
def test_blobs_of_two_gigabytes_are_refused_by_every_kernel(param, phase):
    text = f"""force_backward: {"true" if phase == caffe.TRAIN else "false"}
        layer {{ name: "x" type: "Input" top: "x"
                 input_param {{ shape {{ dim: 1 dim: 64 dim: 4096 dim: 2050 }} }} }}
        layer {{ name: "c" type: "Convolution" bottom: "x" top: "c"
                 convolution_param {{ num_output: 64 {param} }} }}"""
    with pytest.raises(ShapeError, match=r"'c'.*2\^31 bytes or more"):
        net_from_text(text, phase, keep_data=False)


def test_an_empty_batch_gives_an_empty_batch_and_no_gradient():
    case = Case((0, 3, 5, 4))
    top = np.zeros((0, 5, 3, 2), np.float32)
    result = run(
        "Convolution", case.arguments, np.zeros(case.bottom, np.float32), params=case.params("float32"),
        param_diffs=[0.5, -2.0], top_diffs=[top], layout=case.layout,
    )  # fmt: skip
    assert result.tops[0].shape == top.shape
    assert np.array_equal(result.param_diffs[0], np.full(case.weights, 0.5))
    assert np.array_equal(result.param_diffs[1], np.full(5, -2.0))


# Statistics folded into the weights


STATISTICS = [
    np.float32([1.0, -2.0, 0.5, 3.0, 0.0]),
    np.float32([4.0, 0.5, 1.0, 9.0, 0.1]),
    np.float32([2.0]),
]
SCALES = [np.float32([1.0, -1.5, 0.0, 2.0, 0.5]), np.float32([0.0, 1.0, -2.0, 0.25, 3.0])]


def normalised(y, statistics, scales, eps):
    """What BatchNorm and Scale make of a top, in float64."""
    spread = [-1] + [1] * (y.ndim - 2)
    mean, variance, factor = (each.astype(np.float64) for each in statistics)
    inverse = 1 / factor if factor else np.zeros(1)
    y = (y - (mean * inverse).reshape(spread)) / np.sqrt((variance * inverse).reshape(spread) + eps)
    if not scales:
        return y
    return y * scales[0].reshape(spread) + scales[1].reshape(spread)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias_term", [False, True])
@pytest.mark.parametrize("scales", [[], SCALES])
@pytest.mark.parametrize("name", ["square", "depthwise_small", "sequence", "tiles_3_many"])
def test_statistics_are_folded_into_the_weights(name, scales, bias_term, relu, dtype):
    case = case_of(name, bias_term=bias_term)
    params = case.params(dtype)
    x = random_array(*case.bottom, dtype=dtype)
    weights, *bias = [tensor(each) for each in params]
    wanted = case.in_torch(tensor(x), weights, *(bias or [None])).detach().numpy()
    statistics = [np.resize(each, case.weights[0]) for each in STATISTICS[:2]] + STATISTICS[2:]
    scales = [np.resize(each, case.weights[0]) for each in scales]
    wanted = normalised(wanted, statistics, scales, 0.01)
    arguments = {**case.arguments, "relu": relu, "batch_norm": True, "scale_bias": bool(scales), "eps": 0.01}
    result = run(
        "Convolution", arguments, x, params=[*params, *statistics, *scales], layout=case.layout, dtype=dtype,
        need_backward=False,
    )  # fmt: skip
    wanted = np.maximum(wanted, 0) if relu else wanted
    assert_near(result.tops[0], wanted, dtype, 4 * case.terms)


def test_statistics_without_a_factor_count_as_zero():
    case = case_of("square", bias_term=False)
    x, [weights], _ = inputs_of(case)
    arguments = {**case.arguments, "batch_norm": True, "eps": 0.25}
    zeros = [STATISTICS[0], STATISTICS[1], np.zeros(1, np.float32)]
    got = run("Convolution", arguments, x, params=[weights, *zeros], layout=case.layout, need_backward=False)
    plain = run("Convolution", case.arguments, x, params=[weights], layout=case.layout)
    assert_near(got.tops[0], 2 * plain.tops[0], terms=27)


def test_folded_statistics_have_no_gradient():
    case = case_of("square")
    x, params, diff = inputs_of(case)
    with pytest.raises(ConfigError, match="planned to run forward only"):
        run(
            "Convolution", {**case.arguments, "batch_norm": True}, x, params=[*params, *STATISTICS],
            top_diffs=[diff], layout=case.layout,
        )  # fmt: skip


def test_a_folded_convolution_is_passed_over_when_all_layers_are_asked_to_run_backward():
    _, net = nets_to_change("float32")
    net.forward()
    net.plan.executor.backward(0, len(net.plan.executor), all=True)
    assert not net.params["layer"][0].diff.any()


# Packed weights follow the learned ones


def conv(param, more=""):
    return f'type: "Convolution" {more} convolution_param {{ weight_filler {{ type: "gaussian" }} {param} }}'


def update(blob):
    """Take the weights away from themselves, as a solver would."""
    blob.diff[...] = blob.data
    updater = core.Updater("SGD", [blob], [1.0], [1.0])
    updater.update(core.UpdateSettings(
        rate=1.0, momentum=0.0, momentum2=0.0, rms_decay=0.0, delta=0.0, weight_decay=0.0, l1=False,
        gradient_scale=1.0, iteration=0,
    ))  # fmt: skip


def refill(blob):
    core.fill(
        blob, type="constant", value=0.0, min=0, max=0, mean=0, std=0, sparse=-1, variance_norm="FAN_IN",
        seed=1, stream=1,
    )  # fmt: skip


def share(blob):
    blob.share_data(core.Blob(blob.shape, device=blob.device))


def write(blob):
    blob.data[...] = 0


FOLDED = """
layer { name: "b0" type: "Input" top: "b0" input_param { shape { dim: 2 dim: 16 dim: 5 dim: 5 } } }
layer { name: "layer" type: "Convolution" bottom: "b0" top: "t0"
        convolution_param { num_output: 20 kernel_size: 3 bias_term: false
                            weight_filler { type: "gaussian" } } }
layer { name: "bn" type: "BatchNorm" bottom: "t0" top: "t0" }
layer { name: "scale" type: "Scale" bottom: "t0" top: "t0" scale_param { bias_term: true } }
"""


def nets_to_change(precision):
    """A net with packed weights and one with folded statistics, both with inputs."""
    x = random_array(2, 16, 5, 5)
    param = "num_output: 20 kernel_size: 3 bias_term: false"
    folded = net_from_text(FOLDED, precision=precision)
    folded.blobs["b0"].data[...] = x
    assert [node.name for node in folded.plan.graph.nodes][-1] == "layer+bn+scale"
    return [layer_net(conv(param), x, backward=False, precision=precision), folded]


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("change", [write, update, refill, share])
def test_changed_weights_are_noticed(change, precision):
    for net in nets_to_change(precision):
        [weights] = net.params["layer"]
        net.forward()
        assert net.blobs["t0"].data.any()
        change(weights)
        net.forward()
        assert not net.blobs["t0"].data.any(), "the old weights were used"


@pytest.mark.parametrize("precision", DTYPES)
def test_weights_changed_through_a_view_that_is_kept_are_noticed(precision):
    for net in nets_to_change(precision):
        view = net.params["layer"][0].data
        net.forward()
        before = net.blobs["t0"].data.copy()
        for factor in (2, 4):
            view *= 2
            net.forward()
            assert np.array_equal(net.blobs["t0"].data, factor * before)
        kept = net.params["layer"][0]
        del view
        gc.collect()
        kept.data[...] = 0
        net.forward()
        assert not net.blobs["t0"].data.any()


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("layer", "index", "value"), [("bn", 1, 4.0), ("scale", 0, 0.5), ("scale", 1, -3.0)])
def test_changed_statistics_and_scales_are_noticed(layer, index, value, precision):
    _, net = nets_to_change(precision)
    for blob, start in zip(net.params["bn"], (0.0, 1.0, 1.0)):
        blob.data[...] = start
    net.forward()
    before = net.blobs["t0"].data.copy()
    net.params[layer][index].data[...] = value
    net.forward()
    wanted = before - 3 if value < 0 else before / 2  # half for four times the variance, too
    assert_near(net.blobs["t0"].data, wanted, precision, terms=1000)


def test_statistics_that_another_net_learns_are_noticed():
    _, net = nets_to_change("float32")
    trained = net_from_text(FOLDED, 0)
    trained.share_with(net)
    net.forward()
    before = net.blobs["t0"].data.copy()
    trained.blobs["b0"].data[...] = random_array(2, 16, 5, 5, seed=1)
    trained.forward()
    net.forward()
    assert np.abs(net.blobs["t0"].data - before).max() > 1, "the old statistics were used"


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_packed_weights_are_kept_and_counted_where_only_forward_runs(phase):
    """On a GPU they are kept for backward, too."""
    kept = 2 * 20 * 16 * 9 if phase == caffe.TEST or DEVICE != "cpu" else 0
    text = """layer { name: "x" type: "Input" top: "x"
                      input_param { shape { dim: 2 dim: 16 dim: 5 dim: 5 } } }
              layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                      convolution_param { num_output: 20 kernel_size: 3 } }"""
    text = "force_backward: true " + text if phase == caffe.TRAIN else text
    net = net_from_text(text, phase, precision="bfloat16", keep_data=False)
    assert net.memory().private >= kept
    assert bool(net.memory().private) == bool(kept)


# Shapes and parameters


def test_a_new_input_size_gives_what_a_new_net_gives():
    x, small = random_array(3, 4, 9, 8), random_array(1, 4, 5, 6, seed=1)
    param = "num_output: 5 kernel_size: 3 pad: 1 bias_filler { value: 2 }"
    net, fresh = layer_net(conv(param), x, seed=3), layer_net(conv(param), small, seed=3)
    net.forward()
    net.blobs["b0"].reshape(*small.shape)
    net.blobs["b0"].data[...] = small
    net.forward()
    fresh.forward()
    assert np.array_equal(net.blobs["t0"].data, fresh.blobs["t0"].data)
    for each in (net, fresh):
        each.blobs["t0"].diff[...] = random_array(1, 5, 5, 6, seed=2)
        each.backward()
    assert np.array_equal(net.blobs["b0"].diff, fresh.blobs["b0"].diff)


def test_other_channels_than_the_weights_have_are_rejected():
    net = layer_net(conv("num_output: 5 kernel_size: 3"), random_array(3, 4, 9, 8))
    net.forward()
    net.blobs["b0"].reshape(3, 6, 9, 8)
    with pytest.raises(
        ShapeError, match=r"weights \(5, 4, 3, 3\) do not fit bottom shape \(3, 6, 9, 8\)"
    ) as error:
        net.forward()
    assert error.value.layer == "layer"


@pytest.mark.parametrize(
    ("param", "kernel", "stride", "pad", "dilation"),
    [
        ("kernel_size: 3", [3, 3], [1, 1], [0, 0], [1, 1]),
        ("kernel_size: 3 kernel_size: 2 stride: 2 pad: 1 pad: 0", [3, 2], [2, 2], [1, 0], [1, 1]),
        ("kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 3", [3, 2], [1, 3], [0, 0], [1, 1]),
        ("kernel_size: 2 pad_h: 1 pad_w: 2 dilation: 2 dilation: 1", [2, 2], [1, 1], [1, 2], [2, 1]),
        ("kernel_size: 2 dilation_h: 3 dilation_w: 1", [2, 2], [1, 1], [0, 0], [3, 1]),
        ("kernel_size: 2 pad_h: 1", [2, 2], [1, 1], [1, 0], [1, 1]),
        ("kernel_size: 2 pad_w: 1", [2, 2], [1, 1], [0, 1], [1, 1]),
    ],
)
def test_every_form_of_the_sizes_is_understood(param, kernel, stride, pad, dilation):
    x = random_array(2, 3, 9, 8)
    net = layer_net(conv(f"num_output: 5 {param}"), x)
    case = Case(x.shape, kernel=kernel, stride=stride, pad=pad, dilation=dilation)
    weights, bias = (tensor(blob.data) for blob in net.params["layer"])
    wanted = case.in_torch(tensor(x), weights, bias).detach().numpy()
    assert_near(net.forward()["t0"], wanted, terms=27)


SIZE = "num_output: 4 kernel_size: 1"


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("kernel_size: 3", "num_output must be >= 1, got nothing"),
        ("num_output: 0 kernel_size: 3", "num_output must be an int >= 1, got 0"),
        ("num_output: 4", "kernel_size is missing"),
        ("num_output: 4 kernel_size: 0", "kernel_size must be an int >= 1 and <= 32768, got 0"),
        ("num_output: 4 kernel_size: 1 kernel_size: 0", "kernel_size must be an int .* got 0"),
        ("num_output: 4 kernel_size: 32769", "kernel_size must be an int .* got 32769"),
        ("num_output: 4 kernel_h: 0 kernel_w: 1", "kernel_h must be an int .* got 0"),
        ("num_output: 4 kernel_h: 2", "kernel_h is given without kernel_w"),
        ("num_output: 4 kernel_w: 2", "kernel_w is given without kernel_h"),
        ("num_output: 4 kernel_size: 1 kernel_h: 2 kernel_w: 2", "give kernel_size or kernel_h and kernel_w"),
        ("num_output: 4 kernel_size: 1 kernel_size: 1 kernel_size: 1", "each of 2 spatial axes, got 3"),
        (f"{SIZE} stride: 0", "stride must be an int .* got 0"),
        (f"{SIZE} stride_h: 0 stride_w: 1", "stride_h must be an int .* got 0"),
        (f"{SIZE} stride_w: 2", "stride_w is given without stride_h"),
        (f"{SIZE} stride: 2 stride_h: 2 stride_w: 2", "give stride or stride_h and stride_w"),
        (f"{SIZE} pad: 32769", "pad must be an int .* got 32769"),
        (f"{SIZE} pad: 1 pad_h: 1", "give pad or pad_h and pad_w"),
        (f"{SIZE} pad: 1 pad: 1 pad: 1", "pad needs 1 value or one for each of 2 spatial axes, got 3"),
        (f"{SIZE} dilation: 0", "dilation must be an int .* got 0"),
        (f"{SIZE} dilation_h: 2", "dilation_h is given without dilation_w"),
        (f"{SIZE} dilation: 2 dilation_h: 2 dilation_w: 2", "give dilation or dilation_h and dilation_w"),
        (f"{SIZE} group: 0", "group must be an int >= 1, got 0"),
        (f"{SIZE} group: 3", "group 3 does not divide num_output 4"),
        (f"{SIZE} axis: 4", r"axis 4 is out of range for bottom shape \(1, 6, 5, 5\)"),
        (f"{SIZE} axis: -5", r"axis -5 is out of range for bottom shape \(1, 6, 5, 5\)"),
    ],
)
def test_bad_parameters_are_rejected(param, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "Convolution" convolution_param {{\n{param} }}', random_array(1, 6, 5, 5))
    assert error.value.layer == "layer"
    assert error.value.line in (3, 4)


@pytest.mark.parametrize(
    ("param", "shape", "problem"),
    [
        ("num_output: 4 kernel_size: 1 group: 4", (1, 6, 5, 5), "group 4 does not divide the 6 channels"),
        (
            "num_output: 4 kernel_size: 6",
            (1, 6, 5, 5),
            "the kernel covers 6 .* axis 0, the padded input has only 5",
        ),
        ("num_output: 4 kernel_h: 1 kernel_w: 8 pad: 1", (1, 6, 5, 5), "covers 8 .* axis 1, .* has only 7"),
        ("num_output: 4 kernel_size: 3 dilation: 3", (1, 6, 5, 5), "the kernel covers 7"),
        ("num_output: 4 kernel_size: 1", (1, 2, 3, 3, 3, 3), "at most 3 spatial axes are supported"),
        (
            "num_output: 4 kernel_h: 1 kernel_w: 1",
            (1, 2, 3),
            "kernel_h is for 2 spatial axes, the bottom has 1",
        ),
        (
            "num_output: 4 kernel_size: 1 pad_w: 1",
            (1, 2, 3, 3, 3),
            "pad_w is for 2 spatial axes, the bottom has 3",
        ),
        ("num_output: 4 kernel_size: 1", (3,), "axis 1 is out of range"),
    ],
)
def test_bottoms_that_do_not_fit_are_rejected(param, shape, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "Convolution" convolution_param {{ {param} }}', random_array(*shape))
    assert (error.value.layer, error.value.line) == ("layer", 3)


def test_bottoms_of_two_shapes_are_rejected():
    with pytest.raises(ShapeError, match=r"one shape, got \(1, 2, 3, 3\) and \(1, 2, 3, 4\)") as error:
        layer_net(conv(SIZE), random_array(1, 2, 3, 3), random_array(1, 2, 3, 4), tops=2)
    assert (error.value.layer, error.value.line) == ("layer", 4)


def test_as_many_tops_as_bottoms_are_wanted():
    with pytest.raises(ConfigError, match="as many tops as bottoms, got 2 and 1"):
        layer_net(conv(SIZE), random_array(1, 2, 3, 3), tops=2)
