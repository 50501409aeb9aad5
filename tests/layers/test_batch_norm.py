import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, every_form, random_array, rounded, run
from helpers.layer_facts import Example, Timed
from helpers.oracle import torch

from pycaffe_like.errors import ConfigError
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.testing import layer_net

EXAMPLE = Example("batch_norm_param { use_global_stats: false eps: 1e-3 }")
BACKWARD = {
    "alone": [("BatchNorm", "")],
    "stored statistics": [("BatchNorm", "batch_norm_param { use_global_stats: true }")],
    "Scale, ReLU": [("BatchNorm", ""), ("Scale", "scale_param { bias_term: true }"), ("ReLU", "")],
}
IMPOSSIBLE = [("batch_norm_param { eps: -1 }", [(2, 3)], "eps")]
TOLERANCE = (1e-4, 2e-5)
SANITIZED = True
TIMED = {"": Timed("", ((128, 256, 56, 56),), forward=(2, 1), backward=(3, 2))}  # sums come first

EPS = 1e-3
SHAPES = {
    "one_axis": (9,),
    "two_axes": (6, 5),
    "three_axes": (3, 5, 7),
    "map": (3, 5, 4, 6),
    "volume": (2, 3, 4, 3, 5),
    "one_channel": (4, 1, 3, 5),
    "three_channels": (2, 3, 17, 16),
    "channels_127": (3, 127, 3, 2),
    "channels_128": (2, 128, 3, 3),
    "channels_129": (70, 129, 1, 1),
    "flat_129": (5, 129),
    "long": (1, 2, 70, 90),
}


def arguments(
    use_global_stats=False, scale_bias=False, relu=False, fraction=0.9, eps=EPS, addend=False
):  # fmt: skip
    return {
        "use_global_stats": use_global_stats, "scale_bias": scale_bias, "relu": relu,
        "moving_average_fraction": fraction, "eps": eps, "addend": addend,
    }  # fmt: skip


def channels_of(shape):
    return shape[1] if len(shape) > 1 else 1


def params_of(shape, scale_bias=False):
    """Stored mean, variance and factor, and maybe scale and shift."""
    channels = channels_of(shape)
    params = [random_array(channels, seed=3), np.abs(random_array(channels, seed=4)) + 0.5, np.float32([2.5])]
    return params + [random_array(channels, seed=5), random_array(channels, seed=6)] * scale_bias


def over_channels(values, shape):
    return values.reshape([-1] + [1] * (len(shape) - 2)) if len(shape) > 1 else values


def in_torch(x, params, args):
    """Input, learned scale and shift, and the top before the ReLU, as float64 tensors with a history."""
    x, *params = (torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (x, *params))
    axes = [axis for axis in range(x.dim()) if axis != 1]
    if args["use_global_stats"]:
        mean, variance = (over_channels(each / params[2], x.shape) for each in params[:2])
    else:
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + args["eps"])
    if args["scale_bias"]:
        y = y * over_channels(params[3], x.shape) + over_channels(params[4], x.shape)
    return x, params[3:], y


def check_against_torch(shape, args, layout, dtype, in_place):
    x, params = random_array(*shape, dtype=dtype), params_of(shape, args["scale_bias"])
    source, learned, y = in_torch(x, params, args)
    diff = random_array(*shape, dtype=dtype, seed=1)
    if args["relu"]:  # no gradient where rounding may decide which side of 0 it is
        diff[np.abs(y.detach().numpy()) < (0.05 if dtype == "bfloat16" else 1e-4)] = 0
        y = torch.relu(y)
    y.backward(torch.tensor(diff, dtype=torch.float64))
    result = run(
        "BatchNorm", args, x, params=params, param_diffs=[7.0, 7.0, 7.0, 0.5, -2.0], top_diffs=[diff],
        layout=layout, dtype=dtype, in_place=in_place,
    )  # fmt: skip
    terms = 4 * x.size // channels_of(shape)
    assert_near(result.tops[0], y.detach().numpy(), dtype, terms)
    assert_near(result.bottom_diffs[0], source.grad.numpy(), dtype, terms)
    for statistics in result.param_diffs[:3]:
        assert np.all(statistics == 7), "statistics have no gradient"
    gradients = [got - before for got, before in zip(result.param_diffs[3:], [0.5, -2.0])]
    if gradients and dtype == "bfloat16" and in_place:  # backward reads a rounded copy of xhat
        xhat = in_torch(x, params, {**args, "scale_bias": False})[2].detach().numpy()
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        wrong = np.abs(gradients.pop(0) - learned.pop(0).grad.numpy())
        assert np.all(wrong <= 2.0**-8 * np.abs(diff * xhat).sum(axes))
    for got, param in zip(gradients, learned):
        assert_near(got, param.grad.numpy(), "float32", terms)
    return result


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("scale_bias", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_a_batch_is_normalised_with_its_own_statistics(name, scale_bias, in_place, layout, dtype):
    check_against_torch(SHAPES[name], arguments(scale_bias=scale_bias), layout, dtype, in_place)


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("scale_bias", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_stored_statistics_are_constants(name, scale_bias, in_place, layout, dtype):
    args = arguments(use_global_stats=True, scale_bias=scale_bias)
    result = check_against_torch(SHAPES[name], args, layout, dtype, in_place)
    for got, before in zip(result.params, params_of(SHAPES[name], scale_bias)):
        assert np.array_equal(got, before)


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("use_global_stats", [False, True])
@pytest.mark.parametrize("scale_bias", [False, True])
@pytest.mark.parametrize("name", ["two_axes", "three_axes", "map", "channels_129"])
def test_a_fused_relu_clips_values_and_gradients(name, scale_bias, use_global_stats, in_place, layout, dtype):
    args = arguments(use_global_stats, scale_bias, relu=True)
    check_against_torch(SHAPES[name], args, layout, dtype, in_place)


@pytest.mark.skipif(DEVICE == "cpu", reason="plans ask for it on a GPU only")
@every_form
@pytest.mark.parametrize("propagate_down", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("relu", "use_global_stats"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("name", ["two_axes", "three_axes", "map", "channels_128", "channels_129", "long"])
def test_a_sum_with_another_bottom(name, relu, use_global_stats, propagate_down, layout, dtype):
    shape, args = SHAPES[name], arguments(use_global_stats, True, relu, addend=True)
    x, addend = random_array(*shape, dtype=dtype), random_array(*shape, dtype=dtype, seed=2)
    params, diff = params_of(shape, True), random_array(*shape, dtype=dtype, seed=1)
    source, learned, y = in_torch(x, params, args)
    other = torch.tensor(addend, dtype=torch.float64, requires_grad=True)
    y = y + other
    if relu:
        diff[np.abs(y.detach().numpy()) < (0.05 if dtype == "bfloat16" else 1e-4)] = 0
        y = torch.relu(y)
    y.backward(torch.tensor(diff, dtype=torch.float64))
    result = run(
        "BatchNorm", args, x, addend, params=params, top_diffs=[diff], propagate_down=propagate_down,
        layout=layout, dtype=dtype,
    )  # fmt: skip
    terms = 4 * x.size // channels_of(shape)
    assert_near(result.tops[0], y.detach().numpy(), dtype, terms)
    for got, leaf, wanted in zip(result.bottom_diffs, (source, other), propagate_down):
        if wanted:
            assert_near(got, leaf.grad.numpy(), dtype, terms)
    for got, param in zip(result.param_diffs[3:], learned):
        assert_near(got, param.grad.numpy(), "float32", terms)


def test_many_rows_and_channels():
    """On a GPU a thread goes over its columns several times."""
    check_against_torch((1100, 4096), arguments(scale_bias=True, relu=True), "plain", "float32", False)


# Stored statistics


@every_form
@pytest.mark.parametrize("fraction", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("name", ["one_axis", "two_axes", "map", "channels_127"])
def test_a_forward_adds_the_batch_to_the_stored_statistics(name, fraction, layout, dtype):
    shape = SHAPES[name]
    x, params = random_array(*shape, dtype=dtype), params_of(shape)
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    exact = x.astype(np.float64)
    batch = [exact.mean(axes), exact.var(axes, ddof=1), 1.0]
    result = run("BatchNorm", arguments(fraction=fraction), x, params=params, layout=layout, dtype=dtype)
    for got, before, new in zip(result.params, params, batch):
        assert_near(got, fraction * before.astype(np.float64) + new, terms=x.size)


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_every_forward_updates_whatever_the_phase(phase):
    param = "batch_norm_param { use_global_stats: false moving_average_fraction: 0.5 }"
    net = layer_net(f'type: "BatchNorm" {param}', [[1.0], [3.0]], phase=phase)
    seen = []
    for _ in range(3):
        net.forward()
        seen.append([blob.data.item() for blob in net.params["layer"]])
    assert seen == [[2.0, 2.0, 1.0], [3.0, 3.0, 1.5], [3.5, 3.5, 1.75]]


def test_backward_does_not_update():
    net = layer_net('type: "BatchNorm"', [[1.0], [3.0]], phase=TRAIN)
    net.forward()
    before = [blob.data.copy() for blob in net.params["layer"]]
    net.backward()
    assert np.array_equal(before, [blob.data for blob in net.params["layer"]])


@pytest.mark.parametrize(("phase", "normalised"), [(TRAIN, True), (TEST, False)])
def test_phase_test_uses_the_stored_statistics_by_default(phase, normalised):
    net = layer_net('type: "BatchNorm" batch_norm_param { eps: 1e-12 }', [[1.0], [3.0]], phase=phase)
    for blob, value in zip(net.params["layer"], (2.0, 8.0, 2.0)):
        blob.data[...] = value
    got = net.forward()["t0"]
    assert_near(got, [[-1.0], [1.0]] if normalised else [[0.0], [1.0]])


def test_statistics_that_are_not_there_yet_count_as_zero():
    x = random_array(2, 3, 4, 5)
    zeros = [np.zeros(3, np.float32)] * 2 + [np.zeros(1, np.float32)]
    result = run("BatchNorm", arguments(use_global_stats=True, eps=0.25), x, params=zeros)
    assert_near(result.tops[0], 2 * x)


# Inputs that bite


@every_form
def test_a_single_value_a_channel_has_no_variance(layout, dtype):
    x, params = random_array(1, 5, 1, 1, dtype=dtype), params_of((1, 5))
    diff = random_array(1, 5, 1, 1, seed=1)
    result = run("BatchNorm", arguments(), x, params=params, top_diffs=[diff], layout=layout, dtype=dtype)
    assert not result.tops[0].any()
    assert not result.bottom_diffs[0].any()
    assert_near(result.params[0], 0.9 * params[0] + x.ravel(), terms=2)
    assert_near(result.params[1], 0.9 * params[1])


@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_a_large_mean_beside_a_small_deviation_loses_nothing(layout):
    """A sum of squares in float32 would be off by 6 here, where the variance is 1."""
    x = rounded(1e4 + random_array(4, 3, 20, 20), "float32")
    _, _, y = in_torch(x, [], arguments())
    result = run("BatchNorm", arguments(), x, params=params_of(x.shape), layout=layout)
    assert np.max(np.abs(result.tops[0] - y.detach().numpy())) < 6e-4  # half a last digit of the mean
    spread = result.tops[0].astype(np.float64).std((0, 2, 3))
    assert_near(spread, y.detach().numpy().std((0, 2, 3)), terms=10)


@every_form
def test_a_constant_channel_becomes_zero(layout, dtype):
    x = np.full((3, 4, 5, 2), 1.25, np.float32)
    result = run("BatchNorm", arguments(), x, params=params_of(x.shape), layout=layout, dtype=dtype)
    assert not result.tops[0].any()


@every_form
def test_an_empty_batch_changes_no_statistics(layout, dtype):
    x, params = np.zeros((0, 3, 4, 5), np.float32), params_of((0, 3))
    result = run("BatchNorm", arguments(), x, params=params, top_diffs=[x], layout=layout, dtype=dtype)
    assert result.tops[0].shape == x.shape
    for got, before in zip(result.params, params):
        assert np.array_equal(got, before)


def test_a_nan_stays_in_its_channel():
    x = random_array(2, 3, 4, 5)
    x[0, 1, 2, 3] = np.nan
    y = run("BatchNorm", arguments(), x, params=params_of(x.shape), layout="channels_last").tops[0]
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()


# Gradients: which are made, and that they add up


@pytest.mark.parametrize("learn", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("use_global_stats", [False, True])
def test_only_params_that_learn_get_a_gradient(use_global_stats, learn):
    shape = (2, 3, 4, 5)
    args, x, diff = arguments(use_global_stats, True), random_array(*shape), random_array(*shape, seed=1)
    options = {"params": params_of(shape, True), "top_diffs": [diff]}
    every = run("BatchNorm", args, x, **options)
    some = run("BatchNorm", args, x, **options, learn=(False, False, False, *learn))
    for got, wanted, learns in zip(some.param_diffs[3:], every.param_diffs[3:], learn):
        assert wanted.all()
        assert np.array_equal(got, wanted if learns else np.zeros(3))
    assert np.array_equal(some.bottom_diffs[0], every.bottom_diffs[0])


def test_an_unwanted_gradient_of_the_bottom_leaves_those_of_the_params():
    shape = (2, 3, 4, 5)
    x, diff = random_array(*shape), random_array(*shape, seed=1)
    options = {"params": params_of(shape, True), "top_diffs": [diff]}
    every = run("BatchNorm", arguments(scale_bias=True), x, **options)
    some = run("BatchNorm", arguments(scale_bias=True), x, **options, propagate_down=[False])
    assert some.bottom_diffs[0] is None
    for got, wanted in zip(some.param_diffs, every.param_diffs):
        assert np.array_equal(got, wanted)


@every_form
def test_the_same_input_gives_the_same_bits(layout, dtype):
    x, diff = random_array(8, 64, 20, 20, dtype=dtype), random_array(8, 64, 20, 20, dtype=dtype, seed=1)
    once, again = (
        run(
            "BatchNorm", arguments(scale_bias=True), x, params=params_of(x.shape, True), top_diffs=[diff],
            layout=layout, dtype=dtype,
        )
        for _ in range(2)
    )  # fmt: skip
    for name in ("tops", "bottom_diffs", "param_diffs", "params"):
        for first, second in zip(getattr(once, name), getattr(again, name)):
            assert first.tobytes() == second.tobytes()


# Learned blobs and parameters


def shapes_of(param, *shape):
    net = layer_net(f'type: "BatchNorm" {param}', random_array(*shape))
    return [tuple(blob.shape) for blob in net.params["layer"]]


def test_learned_blobs_have_caffes_shapes():
    assert shapes_of("", 2, 3, 4, 5) == [(3,), (3,), (1,)]
    assert shapes_of("", 5) == [(1,), (1,), (1,)]
    assert shapes_of("batch_norm_param { scale_bias: true }", 2, 7) == [(7,), (7,), (1,), (7,), (7,)]


@pytest.mark.parametrize(
    ("param", "scale", "shift"),
    [
        ("scale_bias: true", 1, 0),
        ("scale_filler { value: 3 }", 3, 0),
        ("bias_filler { value: 4 }", 1, 4),
        ("scale_bias: true scale_filler { value: 3 } bias_filler { value: 4 }", 3, 4),
    ],
)
def test_fillers_turn_scale_and_shift_on(param, scale, shift):
    net = layer_net(f'type: "BatchNorm" batch_norm_param {{ {param} }}', random_array(2, 3))
    values = [blob.data.tolist() for blob in net.params["layer"]]
    assert values == [[0] * 3, [0] * 3, [0], [scale] * 3, [shift] * 3]


@pytest.mark.parametrize(
    ("fields", "line", "problem"),
    [
        ("batch_norm_param {\neps: 0 }", 4, "eps must be a number > 0, got 0"),
        ("batch_norm_param {\neps: -1 }", 4, "eps must be a number > 0, got -1"),
        ("batch_norm_param {\neps: nan }", 4, "eps must be a number > 0, got nan"),
        ("batch_norm_param {\nmoving_average_fraction: 1.5 }", 4, "moving_average_fraction .* got 1.5"),
        ("batch_norm_param {\nmoving_average_fraction: -0.1 }", 4, "moving_average_fraction .* got -0.1"),
        ("\nparam { lr_mult: 1 }", 4, "blob 0 of a BatchNorm layer is not learned: lr_mult must be 0, got 1"),
        ("param { lr_mult: 0 }\nparam { lr_mult: 2 }", 4, "blob 1 .* got 2"),
        ("param { lr_mult: 0 }\nparam { }", 4, "blob 1 .* got 1"),
        (
            "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }\nparam { }",
            4,
            "4 param entries for 3",
        ),
    ],
)
def test_bad_parameters_are_rejected(fields, line, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "BatchNorm" {fields}', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", line)


def test_three_param_entries_as_of_old_nets_never_let_statistics_learn():
    net = layer_net(f'type: "BatchNorm" {"param { lr_mult: 1 } " * 3}', random_array(2, 3))
    assert [(param.lr_mult, param.decay_mult) for param in net.graph.params] == [(0, 0)] * 3


@pytest.mark.parametrize(
    "rates",
    [
        "",
        "param { lr_mult: 1 decay_mult: 0 } " * 2,
        "param { lr_mult: 0 } " * 3 + "param { lr_mult: 2 } param { lr_mult: 0.5 decay_mult: 0 }",
    ],
)
@pytest.mark.parametrize("form", ["scale_bias: true", "scale_filler { value: 2 } bias_filler { value: 1 }"])
def test_with_scale_and_shift_the_rates_are_nvidias_whatever_the_file_says(rates, form, caplog):
    text = f'type: "BatchNorm" {rates} batch_norm_param {{ {form} }}'
    net = layer_net(text, random_array(2, 3))
    assert [param.lr_mult for param in net.graph.params] == [0, 0, 0, 1, 1]
    assert [param.decay_mult for param in net.graph.params[3:]] == [1, 1]
    assert caplog.text.count("has rates 0, 0, 0, 1, 1 whatever the file says") == bool(rates)


def test_statistics_of_a_part_of_the_batch_are_refused_in_training_alone():
    text = 'type: "BatchNorm" batch_norm_param {\nstats_batch_size: %d }'
    layer_net(text % 2, random_array(4, 3), phase=1)
    layer_net(text % 4, random_array(4, 3), phase=0)
    with pytest.raises(ConfigError, match="statistics of 2 items in a batch of 4") as error:
        layer_net(text % 2, random_array(4, 3), phase=0)
    assert error.value.line == 4


def test_statistics_do_not_learn_without_param_entries_either():
    net = layer_net('type: "BatchNorm"', random_array(2, 3))
    assert [param.lr_mult for param in net.graph.params] == [0, 0, 0]
