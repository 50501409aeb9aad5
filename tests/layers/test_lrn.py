import numpy as np
import pytest
from helpers.direct import assert_near, random_array, run
from helpers.layer_facts import SUMS, Example, Timed
from helpers.oracle import torch

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example("lrn_param { local_size: 3 alpha: 0.5 }")
BACKWARD = {
    "across channels": [("LRN", "lrn_param { alpha: 0.5 }")],
    "within channels": [("LRN", "lrn_param { alpha: 0.5 norm_region: WITHIN_CHANNEL }")],
}
IMPOSSIBLE = [
    ("lrn_param { local_size: 4 }", [(1, 3, 5, 5)], "local_size"),
    ("lrn_param { local_size: 3 }", [(1, 3)], r"\(1, 3\)"),
]
TOLERANCE = SUMS
SANITIZED = True
TIMED = {"across channels": Timed("lrn_param { local_size: 5 }", ((128, 64, 112, 112),), backward=(2, 1))}

DTYPES = ["float32", "bfloat16"]


def arguments(within_channel=False, **changes):
    settings = {"local_size": 5, "alpha": 0.7, "beta": 0.75, "k": 1.0, **changes}
    return {"within_channel": within_channel, **settings}


def reference(args, x):
    """The layer in float64, from the definition, for PyTorch to differentiate."""
    n, reach = args["local_size"], args["local_size"] // 2
    if args["within_channel"]:
        scale = 1 + args["alpha"] * torch.nn.functional.avg_pool2d(
            x * x, n, 1, reach
        )  # divides by n^2 everywhere
    else:
        square = torch.nn.functional.pad(x * x, (0,) * 4 + (reach,) * 2)
        total = sum(square[:, i : i + x.shape[1]] for i in range(n))
        scale = args["k"] + args["alpha"] / n * total
    return x * scale ** -args["beta"]


def check(args, shape, dtype="float32"):
    x = random_array(*shape, dtype=dtype)
    diff = random_array(*shape, dtype=dtype, seed=1)
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = reference(args, leaf)
    y.backward(torch.tensor(diff, dtype=torch.float64))
    result = run("LRN", args, x, top_diffs=[diff], layout="channels_last", dtype=dtype)
    assert_near(result.tops[0], y.detach().numpy(), dtype)
    assert_near(result.bottom_diffs[0], leaf.grad.numpy(), dtype, terms=1 + args["local_size"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(
    "shape", [(2, 7, 5, 4), (1, 1, 1, 1), (1, 3, 9, 2), (1, 127, 2, 3), (2, 128, 3, 2), (1, 129, 2, 2)]
)
def test_result_and_gradient_follow_the_definition(within, shape, dtype):
    check(arguments(within), shape, dtype)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("size", [1, 3, 9, 33])
def test_any_odd_window(within, size):
    check(arguments(within, local_size=size, alpha=2.0), (2, 20, 6, 5))


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 0.75, 1.0, 2.0])
def test_any_power(within, beta):
    check(arguments(within, beta=beta, alpha=3.0), (2, 20, 4, 3))


def test_k_counts_across_channels():
    check(arguments(k=2.5), (2, 20, 3, 3))


def test_k_is_ignored_within_a_channel():
    x = random_array(1, 4, 5, 5)
    results = [run("LRN", arguments(True, k=k), x, layout="channels_last").tops[0] for k in (1.0, 3.0)]
    assert np.array_equal(*results)


@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e3, 1e12])
def test_small_and_large_values_keep_their_precision(scale, beta):
    args = arguments(beta=beta)
    x = random_array(1, 40, 3, 3) * np.float32(scale)
    y = run("LRN", args, x, layout="channels_last").tops[0]
    assert_near(y, reference(args, torch.tensor(x, dtype=torch.float64)).numpy())


def test_nan_spreads_over_its_window_only():
    x = random_array(1, 9, 1, 1)
    x[0, 4] = np.nan
    y = run("LRN", arguments(local_size=3), x, layout="channels_last").tops[0]
    assert np.isnan(y[0, :, 0, 0]).tolist() == [False] * 3 + [True] * 3 + [False] * 3


def test_a_result_may_lie_inside_another_blob():
    """Behind 3 channels of 4 bytes, where a GPU cannot read 16 bytes at once."""
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 1 dim: 1 } } }
    layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 1 dim: 8 dim: 1 dim: 1 } } }
    layer { name: "norm" type: "LRN" bottom: "y" top: "norm" }
    layer { name: "concat" type: "Concat" bottom: "x" bottom: "norm" top: "concat" }
    """
    net = net_from_text(text)
    x, y = random_array(1, 3, 1, 1), random_array(1, 8, 1, 1, seed=1)
    net.blobs["x"].data[...], net.blobs["y"].data[...] = x, y
    wanted = reference(arguments(alpha=1.0), torch.tensor(y, dtype=torch.float64))
    assert_near(net.forward()["concat"], np.concatenate([x, wanted.numpy()], 1))


@pytest.mark.parametrize("within", [False, True])
def test_an_empty_batch_passes(within):
    x = np.zeros((0, 3, 4, 4), np.float32)
    assert run("LRN", arguments(within), x, top_diffs=[x], layout="channels_last").tops[0].shape == x.shape


def test_an_even_window_is_rejected():
    with pytest.raises(ConfigError, match="local_size must be odd, got 4") as error:
        layer_net('type: "LRN" lrn_param {\nlocal_size: 4 }', random_array(1, 3, 2, 2))
    assert (error.value.layer, error.value.line) == ("layer", 4)


def test_a_bottom_without_four_axes_is_rejected():
    with pytest.raises(ShapeError, match=r"must have 4 axes .* got \(2, 3\)"):
        layer_net('type: "LRN"', random_array(2, 3))


def test_in_place_use_is_rejected():
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 2 dim: 2 } } }
    layer { name: "norm" type: "LRN" bottom: "x" top: "x" }
    """
    with pytest.raises(ConfigError, match="LRN cannot work in place"):
        net_from_text(text)
